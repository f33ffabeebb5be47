package local

import (
	"errors"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

// TestNoRoomBeginsNothing: a volume without room takes no new mark, and lets those
// that were begun be finished.
func TestNoRoomBeginsNothing(t *testing.T) {
	h := newHouse(t, time.Hour)
	errFull, full := errors.New("the volume is full"), false
	h.store.o.Room = func() error {
		if full {
			return errFull
		}
		return nil
	}
	first, second := dedupe.Key{Scope: "s", Key: "1"}, dedupe.Key{Scope: "s", Key: "2"}
	m, err := h.store.Begin(t.Context(), first, dedupe.Fingerprint{1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	full = true
	if _, err := h.store.Begin(t.Context(), second, dedupe.Fingerprint{2}, time.Minute); !errors.Is(err, errFull) {
		t.Errorf("begun without room: %v", err)
	}
	if err := h.store.Done(t.Context(), first, m); err != nil {
		t.Errorf("what was begun cannot be finished: %v", err)
	}
	full = false
	if m, err := h.store.Begin(t.Context(), second, dedupe.Fingerprint{2}, time.Minute); err != nil || m.Verdict != dedupe.Begun || m.Attempt != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}
