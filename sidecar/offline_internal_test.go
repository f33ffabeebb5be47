package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/spool"
)

// A tool does not wait on a full volume, and opens no listeners there.
func TestAToolDoesNotWaitForRoom(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s := &Sidecar{offline: true, log: log, conditions: admin.NewConditions()}
	s.parts.room = newRoom(t.TempDir(), Capacity{Limit: 1 << 40, Reserve: 1 << 60}, log)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := s.awaitRoom(ctx)
	if !errors.Is(err, spool.ErrDiskLow) || !strings.Contains(err.Error(), "free space on the volume") || s.parts.data != nil {
		t.Error(err)
	}
}

// What a tool looks at stays: nothing expires meanwhile.
func TestAToolLetsNothingExpire(t *testing.T) {
	o := keepAll(spool.Options{ReceiptsKeep: time.Second, ReceiptsMax: 1, DedupeWindow: time.Second, DedupeLimit: 1})
	if o.ReceiptsKeep < 1000*time.Hour || o.ReceiptsMax < 1<<30 || o.DedupeWindow < 1000*time.Hour || o.DedupeLimit < 1<<40 {
		t.Errorf("%+v", o)
	}
}
