package sidecar

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/volume"
)

// What a volume survives, as receipts say it.
const (
	survivesProcess = "process" // gone with the pod, the container or the power
	survivesNode    = "node"    // there again after the node has restarted
)

// Volume is what is known of the volume that holds a directory.
type Volume struct {
	Filesystem string
	Durable    bool   // the promise is tested on this file system
	Survives   string // process or node
}

// VolumeOf looks at the volume of dir, or of its nearest existing parent.
//
// A file system cannot tell a hostPath, which is lost with its node, from a
// network volume; both survive a restart of the node and say "node". An
// emptyDir is known by its source path, because to statfs it is the node's disk.
func VolumeOf(dir string) (Volume, error) {
	name, durable, err := kv.Filesystem(dir)
	if err != nil {
		return Volume{}, err
	}
	v := Volume{Filesystem: name, Durable: durable, Survives: survivesNode}
	switch name {
	case "tmpfs", "ramfs", "overlay":
		v.Survives = survivesProcess
	}
	if mounts, err := os.Open("/proc/self/mountinfo"); err == nil {
		defer func() { _ = mounts.Close() }() // only read
		if path, err := filepath.Abs(dir); err == nil && inEmptyDir(mounts, path) {
			v.Survives = survivesProcess
		}
	}
	return v, nil
}

// DefaultLimit is spool.limit where it is not configured: 1 GiB, but at most
// 60 % of the volume of dir.
func DefaultLimit(dir string) (config.Size, error) {
	space, err := volume.SpaceOf(volume.Existing(dir))
	if err != nil {
		return 0, err
	}
	if space.Total == 0 { // as /proc: Usable says what is wrong with it
		return config.GiB, nil
	}
	return min(config.GiB, config.Size(space.Total)/10*6), nil
}

// Usable tries to write in dir, or in its nearest existing parent. The error
// says what to do.
func Usable(dir string) error {
	file, err := os.CreateTemp(volume.Existing(dir), ".remora-check-*")
	if err == nil {
		err = errors.Join(file.Close(), os.Remove(file.Name()))
	}
	if at := (*os.PathError)(nil); errors.As(err, &at) {
		err = at.Err // the path is of a file that nobody knows
	}
	return unusable(dir, err)
}

// unusable says what an attempt to write in dir means.
func unusable(dir string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) { // before StorageError, which takes them for failures
		return nil // it can be, when there is room
	}
	if failed := kv.StorageError(err); errors.Is(failed, kv.ErrStorage) {
		return fmt.Errorf("spool.dir %s: %w; look at the disk that holds it", dir, failed)
	}
	if err != nil {
		return fmt.Errorf("spool.dir %s cannot be written by uid %d: %w; give it to that user, or choose another", dir, os.Geteuid(), err)
	}
	return nil
}

// inEmptyDir reports whether the mount that holds path is a Kubernetes
// emptyDir. A line reads: ID, parent, device, root, mount point, …
// (proc_pid_mountinfo(5)).
func inEmptyDir(mountinfo io.Reader, path string) bool {
	longest, empty := -1, false
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 5 || !within(path, f[4]) || len(f[4]) < longest {
			continue
		}
		longest, empty = len(f[4]), strings.Contains(f[3], "/kubernetes.io~empty-dir/")
	}
	return empty
}

func within(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}
