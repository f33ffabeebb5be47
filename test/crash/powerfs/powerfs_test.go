package powerfs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, name, content string) *os.File {
	t.Helper()
	f, err := os.Create(name)
	ok(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.WriteString(content)
	ok(t, err)
	return f
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	ok(t, err)
	ok(t, d.Sync())
	ok(t, d.Close())
}

func wantFile(t *testing.T, name, want string) {
	t.Helper()
	if got, err := os.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s holds %.40q, %v, want %.40q", name, got, err, want)
	}
}

func wantNone(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v, want none", name, err)
	}
}

func TestOnlySyncedBytesSurvive(t *testing.T) {
	fs := Mount(t, Options{})
	f := create(t, filepath.Join(fs.Dir(), "a"), "synced")
	ok(t, f.Sync())
	_, err := f.WriteString(" not")
	ok(t, err)
	create(t, filepath.Join(fs.Dir(), "b"), "never")
	states := fs.Cut(disk.None, disk.All)
	wantFile(t, filepath.Join(states[0], "a"), "synced")
	wantNone(t, filepath.Join(states[0], "b"))
	wantFile(t, filepath.Join(states[1], "a"), "synced not")
	wantFile(t, filepath.Join(states[1], "b"), "never")
	if _, err := f.WriteString("late"); !errors.Is(err, syscall.EIO) {
		t.Errorf("write after the cut: %v, want EIO", err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync after the cut: %v, want EIO", err)
	}
}

func mapShared(t *testing.T, f *os.File, size int) []byte {
	t.Helper()
	ok(t, f.Truncate(int64(size)))
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	ok(t, err)
	t.Cleanup(func() { ok(t, unix.Munmap(m)) })
	return m
}

func TestMappedPagesSurviveMsync(t *testing.T) {
	fs := Mount(t, Options{})
	f := create(t, filepath.Join(fs.Dir(), "a"), "")
	const size = 3 * disk.PageSize
	m := mapShared(t, f, size)
	m[10], m[2*disk.PageSize] = 'x', 'y'
	ok(t, unix.Msync(m, unix.MS_SYNC))
	m[10] = 'z'
	want := make([]byte, size)
	want[10], want[2*disk.PageSize] = 'x', 'y'
	wantFile(t, filepath.Join(fs.Cut(disk.None)[0], "a"), string(want))
	if err := unix.Msync(m, unix.MS_SYNC); !errors.Is(err, syscall.EIO) {
		t.Errorf("msync after the cut: %v, want EIO", err)
	}
}

func TestNamesSurvive(t *testing.T) {
	for _, c := range []struct {
		dirs    disk.Dirs
		file    bool // a new file's name after fsync of the file
		renamed bool // its new name after fsync of the file
	}{
		{disk.Ext4, true, true},
		{disk.Posix, false, false},
	} {
		t.Run(string(c.dirs), func(t *testing.T) {
			fs := Mount(t, Options{Dirs: c.dirs})
			dir := filepath.Join(fs.Dir(), "d", "e")
			ok(t, os.MkdirAll(dir, 0o700))
			f := create(t, filepath.Join(dir, "a"), "x")
			ok(t, f.Sync())
			check := func(name string, want bool) {
				t.Helper()
				got := filepath.Join(fs.Survive(disk.None)[0], "d", "e", name)
				if want {
					wantFile(t, got, "x")
				} else {
					wantNone(t, got)
				}
			}
			check("a", c.file)
			for _, d := range []string{dir, filepath.Dir(dir), fs.Dir()} {
				syncDir(t, d)
			}
			check("a", true)
			ok(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
			check("a", true)
			check("b", false)
			ok(t, f.Sync())
			check("b", c.renamed)
			syncDir(t, dir)
			check("b", true)
			check("a", false)
		})
	}
}

func TestDirectoriesMove(t *testing.T) {
	fs := Mount(t, Options{})
	path := func(name string) string { return filepath.Join(fs.Dir(), name) }
	ok(t, os.MkdirAll(path("fresh/x"), 0o700))
	create(t, path("fresh/x/a"), "new")
	ok(t, os.Mkdir(path("live"), 0o700))
	create(t, path("live/a"), "old")
	ok(t, unix.Renameat2(unix.AT_FDCWD, path("fresh"), unix.AT_FDCWD, path("live"), unix.RENAME_EXCHANGE))
	wantFile(t, path("live/x/a"), "new")
	wantFile(t, path("fresh/a"), "old")
	ok(t, os.Rename(path("live/x"), path("up")))
	ok(t, os.Remove(path("live")))
	ok(t, os.RemoveAll(path("fresh")))
	wantFile(t, path("up/a"), "new")
	list, err := os.ReadDir(fs.Dir())
	ok(t, err)
	if len(list) != 1 {
		t.Errorf("%v is left, want up", list)
	}
}

func TestFailedSyncDropsPages(t *testing.T) {
	fs := Mount(t, Options{})
	name := filepath.Join(fs.Dir(), "a")
	f := create(t, name, "")
	m := mapShared(t, f, disk.PageSize)
	copy(m, "one")
	ok(t, unix.Msync(m, unix.MS_SYNC))
	fs.FailSync(1)
	copy(m, "two")
	if err := unix.Msync(m, unix.MS_SYNC); !errors.Is(err, syscall.EIO) {
		t.Fatalf("msync: %v, want EIO", err)
	}
	ok(t, unix.Msync(m, unix.MS_SYNC))
	ok(t, f.Sync())
	states := fs.Survive(disk.View, disk.None)
	pad := strings.Repeat("\x00", disk.PageSize-3)
	wantFile(t, name, "two"+pad)
	wantFile(t, filepath.Join(states[0], "a"), "two"+pad)
	wantFile(t, filepath.Join(states[1], "a"), "one"+pad)
}

func TestNoSpace(t *testing.T) {
	fs := Mount(t, Options{Space: 1 << 20})
	var st unix.Statfs_t
	ok(t, unix.Statfs(fs.Dir(), &st))
	if free := st.Bavail * uint64(st.Bsize); free != 1<<20 {
		t.Errorf("statfs shows %d bytes free, want %d", free, 1<<20)
	}
	reserve := create(t, filepath.Join(fs.Dir(), "reserve"), "")
	ok(t, unix.Fallocate(int(reserve.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<19))
	f := create(t, filepath.Join(fs.Dir(), "a"), "")
	if _, err := f.Write(make([]byte, 1<<20)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v, want ENOSPC", err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 1<<20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fallocate: %v, want ENOSPC", err)
	}
	_, err := reserve.Write(make([]byte, 1<<19)) // its blocks are its own
	ok(t, err)
	m := mapShared(t, create(t, filepath.Join(fs.Dir(), "m"), ""), 1<<20)
	for i := range m {
		m[i] = 'x'
	}
	if err := unix.Msync(m, unix.MS_SYNC); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("msync: %v, want ENOSPC", err)
	}
	fs.Space(0)
	for i := range m {
		m[i] = 'y'
	}
	ok(t, unix.Msync(m, unix.MS_SYNC))
}

func TestAttributesAndLocks(t *testing.T) {
	fs := Mount(t, Options{})
	name := filepath.Join(fs.Dir(), "a")
	f := create(t, name, "0123456789")
	ok(t, f.Chmod(0o400))
	then := time.Unix(1_000_000_000, 0)
	ok(t, os.Chtimes(name, then, then))
	info, err := os.Stat(name)
	ok(t, err)
	if info.Mode() != 0o400 || !info.ModTime().Equal(then) || info.Size() != 10 {
		t.Errorf("stat: %v %v %d", info.Mode(), info.ModTime(), info.Size())
	}
	g, err := os.Open(name)
	ok(t, err)
	defer func() { ok(t, g.Close()) }()
	ok(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	if err := unix.Flock(int(g.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("second flock: %v, want EAGAIN", err)
	}
	ok(t, f.Truncate(4))
	wantFile(t, name, "0123")
	create(t, name, "") // O_TRUNC
	wantFile(t, name, "")
}

func TestCutAtAnOperation(t *testing.T) {
	fs := Mount(t, Options{})
	f := create(t, filepath.Join(fs.Dir(), "a"), "x")
	fs.CutAt(2)
	ok(t, f.Sync())
	if _, err := f.WriteString("y"); !errors.Is(err, syscall.EIO) {
		t.Errorf("the second operation: %v, want EIO", err)
	}
	<-fs.WasCut()
	ops := fs.History()
	if len(ops) != fs.Ops() || ops[len(ops)-1].Kind != "write" {
		t.Errorf("the last of %d operations is %v, want the refused write", fs.Ops(), ops[len(ops)-1])
	}
	wantFile(t, filepath.Join(fs.Survive(disk.All)[0], "a"), "x")
}

func TestHoldAndGoOn(t *testing.T) {
	fs := Mount(t, Options{})
	name := filepath.Join(fs.Dir(), "a")
	f := create(t, name, "x")
	fs.HoldAt(2)
	var writer bytes.Buffer
	cmd := exec.Command("sh", "-c", `sync "$0" && echo synced && sync "$0" && echo again`, name)
	cmd.Stdout = &writer
	ended := fs.Start(cmd)
	<-fs.Held()
	wantFile(t, filepath.Join(fs.Survive(disk.None)[0], "a"), "x")
	fs.Resume(0)
	<-ended
	if writer.String() != "synced\nagain\n" {
		t.Errorf("the writer said %q", writer.String())
	}
	if fs.Syncs() != 2 {
		t.Errorf("%d syncs, want 2", fs.Syncs())
	}
	ok(t, f.Close())
}

func TestStallsAreReleased(t *testing.T) {
	fs := Mount(t, Options{})
	f := create(t, filepath.Join(fs.Dir(), "a"), "x")
	fs.Stall(time.Hour)
	synced := make(chan error, 1)
	go func() { synced <- f.Sync() }()
	select {
	case err := <-synced:
		t.Fatalf("the sync did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	fs.Stall(0)
	ok(t, <-synced)
}

func TestASecondPowerLoss(t *testing.T) {
	first := Mount(t, Options{})
	ok(t, create(t, filepath.Join(first.Dir(), "a"), "first").Sync())
	second := Mount(t, Options{From: first.Cut(disk.None)[0]})
	ok(t, create(t, filepath.Join(second.Dir(), "b"), "second").Sync())
	state := second.Cut(disk.None)[0]
	wantFile(t, filepath.Join(state, "a"), "first")
	wantFile(t, filepath.Join(state, "b"), "second")
}
