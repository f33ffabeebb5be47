package diskfull

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a mounted ext4 of its own.
type disk struct {
	t   *testing.T
	dir string
}

// newDisk makes an ext4 of so many MiB, without the blocks that root alone may
// use: the sidecar under test is root, and must not live on them.
func newDisk(t *testing.T, mib int) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("mounting needs root (the test runs as uid %d): run it with sudo, or in a container with CAP_SYS_ADMIN", os.Geteuid())
	}
	image, dir := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "mnt")
	must(t, os.Mkdir(dir, 0o700))
	command(t, "truncate", "-s", strconv.Itoa(mib)+"M", image)
	command(t, "mkfs.ext4", "-q", "-F", "-m", "0", image)
	command(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { command(t, "umount", "--lazy", dir) }) // after its processes were killed
	return &disk{t: t, dir: dir}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s(the tests need e2fsprogs, mount and a loop device: /dev/loop-control)", name, args, err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// free is what is left, in bytes.
func (d *disk) free() int64 {
	d.t.Helper()
	var st unix.Statfs_t
	must(d.t, unix.Statfs(d.dir, &st))
	return int64(st.Bavail) * st.Bsize
}

// intruder takes room on the disk with a file of allocated blocks.
type intruder struct {
	d    *disk
	file *os.File
	size int64
}

func (d *disk) intruder() *intruder {
	d.t.Helper()
	f, err := os.Create(filepath.Join(d.dir, "intruder"))
	must(d.t, err)
	i := &intruder{d: d, file: f}
	d.t.Cleanup(func() { _ = f.Close() }) // it may have left
	return i
}

// take allocates up to so many bytes more, and fewer when there are not as many.
func (i *intruder) take(bytes int64) {
	for step := bytes; step >= 4096; {
		err := unix.Fallocate(int(i.file.Fd()), 0, i.size, step)
		switch {
		case err == nil:
			i.size += step
			if bytes -= step; bytes < step {
				step = bytes
			}
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case !errors.Is(err, unix.EINTR):
			i.d.t.Errorf("intruder: %v", err)
			return
		}
	}
}

// fill leaves nothing.
func (i *intruder) fill() { i.take(1 << 40 >> 12 << 12) }

// leave gives all back.
func (i *intruder) leave() {
	must(i.d.t, i.file.Close())
	must(i.d.t, os.Remove(i.file.Name()))
}

// refill takes every byte that becomes free, until the returned function is
// called.
func (i *intruder) refill() (stop func()) {
	var running sync.WaitGroup
	stopped := make(chan struct{})
	running.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			if i.d.free() > 0 {
				i.take(max(i.d.free(), 4096))
			}
			select {
			case <-tick.C:
			case <-stopped:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stopped)
		running.Wait()
	})
}
