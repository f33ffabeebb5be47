package spool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// hide makes a block one at which Badger ends reading its table, and says nothing: its
// checksum is longer than it. It is the one that holds text, or the middle one.
func hide(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		ends := blockEnds(data)
		at := len(ends) / 2
		if text != "" {
			at = slices.IndexFunc(ends, func(end int) bool { return bytes.Contains(data[:end], []byte(text)) })
		}
		if at > 0 && at < len(ends)-1 {
			flipBit(t, path, ends[at]-4, 6)
			return
		}
	}
	t.Fatalf("no table of %v has such a block", files)
}

// blockEnds finds the blocks of a table by their checksums.
func blockEnds(data []byte) (ends []int) {
	start := 0
	for end := 10; end <= len(data); end++ {
		size := int(binary.BigEndian.Uint32(data[end-4:]))
		if size < 2 || size > 6 || end-4-size < start || data[end-4-size] != 0x10 {
			continue
		}
		sum, n := binary.Uvarint(data[end-3-size : end-4])
		if n == size-1 && uint32(sum) == crc32.Checksum(data[start:end-4-size], crc32.MakeTable(crc32.Castagnoli)) {
			ends, start = append(ends, end), end
		}
	}
	return ends
}

func flipBit(t *testing.T, path string, at, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, int64(at))
	b[0] ^= 1 << bit
	_, failed := f.WriteAt(b, int64(at))
	if err := errors.Join(err, failed, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A backlog that seems to end where its table is damaged is not taken for forwarded in
// silence: what can be read is forwarded, the rest is told of, and is there after the
// next start.
func TestABacklogHiddenByDamageIsNoticed(t *testing.T) {
	r := newRig(t, spool.Options{})
	large := strings.Repeat("x", 3000)
	for n := range 60 {
		r.accept(draft("t", fmt.Sprintf("body %02d %s", n, large)))
	}
	r.reopen()
	hide(t, r.dbDir(), "body 30 ")
	got := 0
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		leases, err := r.Lease(ctx, "t", spool.LeaseOptions{})
		cancel()
		if err != nil {
			break
		}
		got += len(leases)
	}
	seen := strings.Join(r.Damage().Seen, "\n")
	if got >= 60 || !r.Damage().Pending() || !strings.Contains(seen, "what was scanned") {
		t.Errorf("%d of 60 are forwarded; seen %q", got, seen)
	}
	r.reopen()
	if r.acknowledged(1); r.balanced().Held != 60 {
		t.Errorf("after the next start %d of 60 are held", r.balanced().Held)
	}
}

// What an opening reads is not taken for all that there is where a table is damaged: it
// is opened once more, and salvages.
func TestAnOpeningIsNotMisledByDamage(t *testing.T) {
	r := newRig(t, spool.Options{})
	for range 10 {
		var all []spool.Draft
		for n := range 200 {
			all = append(all, draft("t", fmt.Sprintf("body %d", n)))
		}
		r.accept(all...)
		r.confirm(r.leaseSome("t", 200))
	}
	r.close()
	hide(t, r.dbDir(), "")
	if err := r.tryOpen(); !errors.Is(err, kv.ErrDamaged) {
		t.Fatalf("opened: %v", err)
	}
	if err := r.tryOpen(); err != nil || !r.Damage().Pending() {
		t.Fatalf("opened once more: %v, %+v", err, r.Damage())
	}
}
