package powerfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/crash/crashfs/control"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// mountTimeout bounds the wait for a fresh mount.
const mountTimeout = 30 * time.Second

// Options of a mount.
type Options struct {
	Dirs  disk.Dirs // empty: disk.Ext4
	Space int64     // bytes the files may allocate, then ENOSPC; 0: no limit
	From  string    // directory whose copy it holds at first, all durable; empty: nothing
}

// FS is a mounted file system with power.
type FS struct {
	t    testing.TB
	dir  string
	conn *conn
}

// Mount mounts an empty file system, until the test ends.
func Mount(t testing.TB, o Options) *FS {
	t.Helper()
	if err := usable(); err != nil {
		t.Fatalf("power-loss tests cannot run here: %v", err)
	}
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-mount", dir, "-dirs", string(o.rule()), "-space", strconv.FormatInt(o.Space, 10), "-from", o.From)
	conn, err := dial(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.close(dir) })
	fs := &FS{t: t, dir: dir, conn: conn}
	fs.await(conn.mounted, mountTimeout, "the mount")
	return fs
}

func (o Options) rule() disk.Dirs {
	if o.Dirs == "" {
		return disk.Ext4
	}
	return o.Dirs
}

// usable says what this machine lacks.
func usable() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("mounting needs root (the test runs as uid %d): run it with sudo, or in a container with CAP_SYS_ADMIN", os.Geteuid())
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: load the kernel module fuse (modprobe fuse), or give the container the device (--device /dev/fuse)", err)
	}
	return f.Close()
}

// Dir is the mount point.
func (f *FS) Dir() string { return f.dir }

// Start runs a program that uses the mount, and kills it when the test ends;
// the power is cut first, so that it cannot be stuck in a held operation. The
// caller may kill it before. The channel is closed when it has ended and all
// its output has reached cmd.Stdout, which should be an io.Writer of the test
// (a StdoutPipe would lose the last lines).
func (f *FS) Start(cmd *exec.Cmd) <-chan struct{} {
	f.t.Helper()
	if err := cmd.Start(); err != nil {
		f.t.Fatalf("start %s: %v", cmd.Path, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its exit code stands in cmd.ProcessState
	}()
	f.t.Cleanup(func() {
		f.conn.lastWords(control.Request{Do: control.Cut})
		_ = cmd.Process.Kill() // it may have ended
		<-ended
	})
	return ended
}
