package loopfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a file system.
type Options struct {
	Type    string   // "ext4" or "xfs"
	Size    int64    // of the device, in bytes; XFS needs 300 MiB
	Options []string // of mount, as "commit=5"
}

// FS is a mounted file system.
type FS struct {
	t     testing.TB
	opts  Options
	image string
	dir   string
}

// Mount makes an empty file system in a sparse file and mounts it, until the
// test ends.
func Mount(t testing.TB, o Options) *FS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("mounting needs root (the test runs as uid %d): run it with sudo, or in a container with CAP_SYS_ADMIN and loop devices", os.Geteuid())
	}
	home := t.TempDir()
	fs := &FS{t: t, opts: o, image: filepath.Join(home, "image"), dir: filepath.Join(home, "mnt")}
	if err := fs.create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(fs.dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", fs.dir, err)
		}
	})
	fs.mount()
	return fs
}

// create writes the file system into its image.
func (f *FS) create() error {
	image, err := os.Create(f.image)
	if err != nil {
		return err
	}
	if err := errors.Join(image.Truncate(f.opts.Size), image.Close(), os.Mkdir(f.dir, 0o700)); err != nil {
		return err
	}
	quiet := map[string]string{"ext4": "-qF", "xfs": "-qf"}[f.opts.Type]
	return command("mkfs."+f.opts.Type, quiet, f.image)
}

func (f *FS) mount() {
	f.t.Helper()
	options := strings.Join(append([]string{"loop"}, f.opts.Options...), ",")
	if err := command("mount", "-t", f.opts.Type, "-o", options, f.image, f.dir); err != nil {
		f.t.Fatalf("%v: are there loop devices, and does the kernel know %s?", err, f.opts.Type)
	}
}

// Dir is the mount point.
func (f *FS) Dir() string { return f.dir }

// goingDown is EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, one number (fs/ext4/ext4.h,
// fs/xfs/libxfs/xfs_fs.h); noLogFlush leaves what is in the journal's buffers there.
const (
	goingDown  = 0x8004587D
	noLogFlush = 2
)

// Shutdown cuts the power: nothing is written any more, not even the journal.
// A sync after it may still report success, so only what was answered before
// the call counts.
func (f *FS) Shutdown() {
	f.t.Helper()
	dir, err := os.Open(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	err = unix.IoctlSetPointerInt(int(dir.Fd()), goingDown, noLogFlush)
	if err := errors.Join(err, dir.Close()); err != nil {
		f.t.Fatalf("shut %s down: %v", f.opts.Type, err)
	}
}

// unmounting bounds the wait for the last file of a killed process to be closed.
const unmounting = 30 * time.Second

// Remount mounts what a cut or a clean unmount left. No process may have a file
// open in it.
func (f *FS) Remount() {
	f.t.Helper()
	deadline := time.Now().Add(unmounting)
	for {
		err := unix.Unmount(f.dir, 0)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			f.t.Fatalf("unmount %s: %v", f.dir, err)
		}
		time.Sleep(10 * time.Millisecond) // nobody tells when it is free
	}
	f.mount()
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
