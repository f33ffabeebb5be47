package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSpace(t *testing.T) {
	dir := t.TempDir()
	if s, err := SpaceOf(dir); err != nil || s.Total <= 0 || s.Free <= 0 || s.Free > s.Total {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := SpaceOf("/proc"); err != nil || s.Total != 0 {
		t.Errorf("of /proc: %+v, %v", s, err)
	}
	if _, err := SpaceOf(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if got := Existing(filepath.Join(dir, "a", "b")); got != dir {
		t.Errorf("nearest is %s", got)
	}
}

func TestAllocatedCountsBlocks(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "db", "deep"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "quarantine"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "db", "deep", "table"), make([]byte, 1<<20), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "quarantine", "old"), make([]byte, 4<<20), 0o600))
	sparse, err := os.Create(filepath.Join(dir, "db", "log"))
	must(t, err)
	must(t, sparse.Truncate(1<<30))
	must(t, sparse.Close())
	if n, err := Allocated(dir, "quarantine"); err != nil || n < 1<<20 || n > 2<<20 {
		t.Errorf("%d bytes, %v; want a little more than 1 MiB", n, err)
	}
	if n, err := Allocated(dir); err != nil || n < 5<<20 {
		t.Errorf("%d bytes with the quarantine, %v", n, err)
	}
	if n, err := Allocated(filepath.Join(dir, "missing")); err != nil || n != 0 {
		t.Errorf("%d bytes of nothing, %v", n, err)
	}
}

func TestBallast(t *testing.T) {
	b := Ballast{Path: filepath.Join(t.TempDir(), "ballast"), Size: 3 << 20}
	held := func(want int64) {
		t.Helper()
		if n, err := b.Held(); err != nil || n < want || n > want+1<<20 {
			t.Errorf("%d bytes are held, %v; want %d", n, err, want)
		}
	}
	held(0)
	must(t, b.GiveUp())
	must(t, b.Restore())
	held(3 << 20)
	must(t, b.Restore())
	held(3 << 20)
	b.Size = 2 << 20
	must(t, b.Restore())
	held(2 << 20)
	must(t, b.GiveUp())
	held(0)
	must(t, b.Restore())
	b.Size = 0
	must(t, b.Restore())
	if _, err := os.Stat(b.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a ballast of nothing: %v", err)
	}
	b.Size = 1 << 62 // who tries to allocate it is told of a file that is too big
	if err := b.Restore(); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("more than there is: %v", err)
	}
	held(0)
}
