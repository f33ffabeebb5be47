package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/volume"
	"github.com/remora-mq/remora/spool"
)

// A tool does not wait on a full volume, and opens no listeners there.
func TestAToolDoesNotWaitForRoom(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s := &Sidecar{offline: true, log: log, conditions: admin.NewConditions()}
	s.parts.room = newRoom(t.TempDir(), Capacity{Limit: 1 << 40, Reserve: 1 << 60}, log)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := s.awaitRoom(ctx)
	if !errors.Is(err, spool.ErrDiskLow) || !strings.Contains(err.Error(), "free space on the volume") || s.parts.data != nil {
		t.Error(err)
	}
}

// A tool that found the volume full leaves the ballast as it found it, and not as large
// as its own configuration would have it.
func TestAToolReturnsTheBallast(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, reserve := range map[string]int64{"no room": 1 << 60, "room without the ballast": 0} {
		s := &Sidecar{offline: true, log: log, conditions: admin.NewConditions()}
		r := newRoom(t.TempDir(), Capacity{Limit: 1 << 40, Reserve: reserve, Ballast: 4 << 20}, log)
		s.parts.room = r
		s.parts.init()
		if err := (volume.Ballast{Path: r.ballast.Path, Size: 1 << 20}).Restore(); err != nil {
			t.Fatal(err)
		}
		if reserve == 0 { // it opens when the ballast is gone
			r.gaveUp = 1 << 20
			if err := r.ballast.GiveUp(); err != nil {
				t.Fatal(err)
			}
		} else if _, err := s.awaitRoom(t.Context()); !errors.Is(err, spool.ErrDiskLow) {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.closeTool(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if held := r.ballastHeld(); held < 1<<20 || held >= 2<<20 {
			t.Errorf("%s: the ballast has %d bytes", name, held)
		}
	}
}

// What a tool looks at stays: nothing expires meanwhile.
func TestAToolLetsNothingExpire(t *testing.T) {
	o := keepAll(spool.Options{ReceiptsKeep: time.Second, ReceiptsMax: 1, ReceiptsLimit: 1, DedupeWindow: time.Second, DedupeLimit: 1})
	if o.ReceiptsKeep < 1000*time.Hour || o.ReceiptsMax < 1<<30 || o.ReceiptsLimit < 1<<40 || o.DedupeWindow < 1000*time.Hour || o.DedupeLimit < 1<<40 {
		t.Errorf("%+v", o)
	}
}

// What opening removes before it writes anything needs not be free before; but half of
// the reserve does.
func TestRoomToOpen(t *testing.T) {
	for removable, want := range map[int64]int64{0: 160, 30: 130, 80: 80, 500: 80} {
		r := newRoom(t.TempDir(), Capacity{Reserve: 160}, slog.New(slog.DiscardHandler))
		r.removable = removable
		if got := r.toOpen(); got != want {
			t.Errorf("%d go: %d have to be free, want %d", removable, got, want)
		}
	}
}
