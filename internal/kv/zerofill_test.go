package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestZerosAreAheadOfSmallCommits: the live log has written blocks beyond what was
// committed, through rotations, and nothing of what was committed is gone.
func TestZerosAreAheadOfSmallCommits(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.MemTableSize = minMemTableSize
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	logs := map[uint64]bool{}
	look := func(i int) error { // on the committer's goroutine, after commit i
		live := db.live
		logs[live.id] = true
		end, err := walk(live.file, walHeader, db.reached)
		unwritten, errMap := firstUnwritten(live.file)
		switch z := live.zeros; {
		case err != nil || errMap != nil:
			return errors.Join(err, errMap)
		case end > z.written:
			return fmt.Errorf("commit %d ends at %d of log %d, and was thought to end at %d", i, end, live.id, z.written)
		case end > fillAhead && unwritten < min(end+fillAhead-2*pageSize, opts.logRoom()):
			return fmt.Errorf("after commit %d, log %d ends at %d, and is written up to %d", i, live.id, end, unwritten)
		}
		return nil
	}
	for i := range 2000 {
		op := put(numbered(i), strings.Repeat("v", 1000+i%97))
		op.do = func(*Tx) error { return look(i - 1) }
		mustCommit(t, q, op)
	}
	if len(logs) < 3 {
		t.Errorf("%d logs: too few prove nothing", len(logs))
	}
	must(t, db.Close())
	db = openTest(t, opts)
	for i := range 2000 {
		wantValue(t, db, numbered(i), strings.Repeat("v", 1000+i%97))
	}
}

// firstUnwritten is where the first block begins that was only allocated
// (Documentation/filesystems/fiemap of Linux).
func firstUnwritten(f *os.File) (int64, error) {
	const extents, unwritten, size = 32, 0x800, 56
	var m struct {
		start, length                  uint64
		flags, mapped, count, reserved uint32
		extents                        [extents * size]byte
	}
	m.length, m.count = 1<<62, extents
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0xC020660B, uintptr(unsafe.Pointer(&m))) // FS_IOC_FIEMAP
	if errno != 0 {
		return 0, fmt.Errorf("map the extents of %s, on a file system that has them: %w", f.Name(), errno)
	}
	end := int64(0)
	for i := range int(m.mapped) {
		e := m.extents[i*size:]
		if binary.NativeEndian.Uint32(e[40:])&unwritten != 0 {
			return int64(binary.NativeEndian.Uint64(e)), nil
		}
		end = int64(binary.NativeEndian.Uint64(e) + binary.NativeEndian.Uint64(e[16:]))
	}
	return end, nil
}

// TestLargeCommitsAreNotFilledFor: what shares a sync among many would only write
// the log twice.
func TestLargeCommitsAreNotFilledFor(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	q := Attach(db, &writer{})
	for i := range 200 {
		mustCommit(t, q, put(numbered(i), strings.Repeat("v", 4*fillBelow)))
	}
	must(t, db.Close())
	if db.live.zeros.mean < fillBelow {
		t.Fatalf("the last commits had %d bytes on the average", db.live.zeros.mean)
	}
	if z := db.live.zeros; z.filled > z.written {
		t.Errorf("filled up to %d, where the log ends at %d", z.filled, z.written)
	}
}

// TestZerosOverwriteNothing: wherever it is thought that Badger writes, what is not
// zero stays.
func TestZerosOverwriteNothing(t *testing.T) {
	opts := testOptions(t.TempDir())
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	random := rand.New(rand.NewPCG(1, 2))
	want := map[int]string{}
	for i := range 500 {
		want[i] = string(bytes.Repeat([]byte{byte(i)}, random.IntN(3000)))
		op := put(numbered(i), want[i])
		op.do = func(*Tx) error {
			db.live.zeros.written, db.live.zeros.filled = random.Int64N(200_000), 0
			return nil
		}
		mustCommit(t, q, op)
	}
	crashed := killed(t, opts.Dir)
	must(t, db.Close())
	opts.Dir = crashed
	db = openTest(t, opts)
	for i, v := range want {
		wantValue(t, db, numbered(i), v)
	}
}
