package sidecar

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// keeping is a spool that keeps n confirmed messages of 60 KiB.
func keeping(t *testing.T, n int) *spool.Spool {
	t.Helper()
	dir := t.TempDir()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(dir, "db"), CloseWait: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(t.Context(), db, spool.Options{Dir: dir, RetainFor: time.Hour, RetainBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	body := []byte(strings.Repeat("x", 60<<10))
	for range n {
		if _, err := s.Append(t.Context(), []spool.Draft{{Message: message.Message{Topic: "t", Body: body}}}); err != nil {
			t.Fatal(err)
		}
	}
	for s.Ledger().Total.Confirmed < uint64(n) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if s.Waiting("t") > 0 {
			leases, err := s.Lease(ctx, "t", spool.LeaseOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s.Confirm(leases, make([]message.Confirmation, len(leases)))
		}
		if err := s.NewIdentity(ctx); err != nil { // all that was confirmed before is recorded
			t.Fatal(err)
		}
		cancel()
	}
	return s
}

// Confirmed messages make room from roomy on, for as much as is asked for and not
// twice for the same; at the limit for more, whatever was dropped before; on a low
// volume for what the reserve lacks; and with room for none.
func TestConfirmedMessagesMakeRoom(t *testing.T) {
	const limit, reserve, one = 100 << 20, 10 << 20, 60 << 10
	for name, c := range map[string]struct {
		set   func(*room)
		least int64 // is dropped
		most  int64
	}{
		"roomy":           {func(r *room) { r.used.Store(80 << 20) }, 0, 0},
		"crowded":         {func(r *room) { r.used.Store(80<<20 + one) }, one, 2 << 20},
		"dropped before":  {func(r *room) { r.used.Store(80<<20 + one); r.dropped.Store(2 * one) }, 0, 0},
		"at the limit":    {func(r *room) { r.used.Store(80<<20 + one); r.dropped.Store(2 * one); r.full.Store(true) }, one, 2 << 20},
		"low volume":      {func(r *room) { r.low.Store(true); r.free.Store(reserve + reserve/8 - one) }, one, 2 << 20},
		"all of it":       {func(r *room) { r.used.Store(limit) }, 100 * one, 16 << 20},
		"ballast to come": {func(r *room) { r.waiting.Store(true); r.free.Store(reserve * 2) }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := keeping(t, 100)
			r := newRoom(t.TempDir(), Capacity{Limit: limit, Reserve: reserve}, slog.New(slog.DiscardHandler))
			r.free.Store(1 << 40)
			c.set(r)
			before := s.Retained().Bytes
			told := r.dropped.Load()
			r.giveUp(s)
			dropped := before - s.Retained().Bytes
			if dropped < c.least || dropped > c.most {
				t.Errorf("dropped %d bytes of %d, want %d to %d", dropped, before, c.least, c.most)
			}
			if now := r.dropped.Load(); c.most > 0 && name != "low volume" && now != told+dropped {
				t.Errorf("noted are %d bytes, %d were dropped and %d noted before", now, dropped, told)
			}
			r.used.Store(0)
			r.giveUp(s)
			if r.dropped.Load() != 0 && !r.low.Load() {
				t.Errorf("%d dropped bytes are still waited for when there is room", r.dropped.Load())
			}
		})
	}
}
