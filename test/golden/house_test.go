package golden

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// house is an open directory, at a time that stands still.
type house struct {
	t     *testing.T
	db    *kv.DB
	spool *spool.Spool
	marks *local.Store
}

// day is when all directories are written, and opened.
var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// keys is the ring of the encrypted directories.
func keys(t *testing.T, key string) *keyring.Ring {
	t.Helper()
	r, err := keyring.Parse(strings.Repeat(key, 32))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// try opens a directory, or says why it cannot be.
func try(t *testing.T, dir string, ring *keyring.Ring) (*house, error) {
	t.Helper()
	ctx := t.Context()
	h := &house{t: t}
	var err error
	h.db, err = kv.Open(ctx, kv.Options{Dir: filepath.Join(dir, "db"), MemTableSize: 1 << 20, Magic: spool.FormatVersion, CloseWait: 2 * time.Minute})
	if err != nil {
		return nil, err
	}
	forever := 100 * 365 * 24 * time.Hour
	h.spool, err = spool.Open(ctx, h.db, spool.Options{
		Dir: dir, Keys: ring, Now: func() time.Time { return day }, Elapsed: func() time.Duration { return 0 }, ReceiptsKeep: forever, DedupeWindow: forever, LedgerKeep: forever,
		Timer: timer,
	})
	if err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	h.marks, err = local.Open(h.db, local.Options{Keys: ring, Clock: func() time.Duration { return 0 }})
	if err != nil {
		return nil, errors.Join(err, h.spool.Close(), h.db.Close())
	}
	return h, nil
}

func open(t *testing.T, dir string, ring *keyring.Ring) *house {
	t.Helper()
	h, err := try(t, dir, ring)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) close() {
	h.t.Helper()
	h.must(errors.Join(h.marks.Close(), h.spool.Close(), h.db.Close()))
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}
