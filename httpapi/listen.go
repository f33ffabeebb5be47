package httpapi

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// socketMode lets owner and group connect.
const socketMode = 0o660

// Listen opens a listener at "host:port" or "unix:///path.sock". group, by name
// or number, becomes the group of a unix socket; "" leaves it as it is.
//
// A unix socket appears at its path with its mode and group already set. It
// takes the place of a socket that nobody listens on, and of nothing else.
func Listen(addr, group string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(addr, "unix://")
	if !isUnix {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		return ln, nil
	}
	ln, err := listenUnix(path, group)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

func listenUnix(path, group string) (net.Listener, error) {
	if err := vacant(path); err != nil {
		return nil, err
	}
	fresh := path + "~" // renamed into place when nobody but us and the group can open it
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(chown(fresh, group), os.Chmod(fresh, socketMode), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(err, ln.Close(), os.RemoveAll(fresh))
	}
	made, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &unixListener{UnixListener: ln, path: path, made: made}, nil
}

// vacant returns nil when path is free, or holds a socket that nobody serves.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that is not a socket: move it away, or choose another path")
	}
	if c, err := net.Dial("unix", path); err == nil {
		return errors.Join(errors.New("another process listens on this socket: stop it, or choose another path"), c.Close())
	}
	return nil
}

func chown(path, group string) error {
	if group == "" {
		return nil
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return err
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return err
		}
	}
	return os.Chown(path, -1, gid)
}

// unixListener removes its socket when it is closed, unless a successor has put
// its own there.
type unixListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.made) {
		err = errors.Join(err, os.Remove(l.path))
	}
	return err
}

// peerAllowed reports whether the process at the other end may connect. Only a
// unix socket knows its peer's user.
func peerAllowed(nc net.Conn, uids []uint32) bool {
	socket, ok := nc.(*net.UnixConn)
	if !ok || len(uids) == 0 {
		return true
	}
	uid, err := peerUID(socket)
	return err == nil && slices.Contains(uids, uid)
}

func peerUID(socket *net.UnixConn) (uid uint32, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
