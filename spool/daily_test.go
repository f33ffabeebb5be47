package spool

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// A pass of the verification begins a minute after the opening, and the next a day after
// the end of each, whether that failed or not, until the spool is closed.
func TestVerificationIsDoneDaily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Spool{db: &store{DB: &kv.DB{}}, life: t.Context(), closing: make(chan struct{})}
		s.opts.Logger = slog.New(slog.DiscardHandler)
		opened, at := time.Now(), []time.Duration{}
		s.everyDay(func() error {
			at = append(at, time.Since(opened))
			time.Sleep(time.Hour)
			if len(at) == 3 {
				close(s.closing)
			}
			return errors.New("a pass that fails")
		})
		const first, next = time.Minute, 25 * time.Hour
		if want := []time.Duration{first, first + next, first + 2*next}; !slices.Equal(at, want) {
			t.Errorf("passes began after %v, want %v", at, want)
		}
	})
}
