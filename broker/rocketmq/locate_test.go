package rocketmq

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// The library is asked for the topic's route, and nothing is sent: no queue is
// chosen for what it is given.
func TestLocateSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		f.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
			t.Error("a message was sent")
			return nil, nil
		}
		l.locate(t.Context(), "t")
		synctest.Wait()
		if f.selects.Load() != 1 || len(l.selector.attempts) != 0 || len(l.locating) != 0 {
			t.Errorf("%d looks, %d attempts left, %d look", f.selects.Load(), len(l.selector.attempts), len(l.locating))
		}
	})
}

// With the library stuck, a look ends after a moment, and so does the wait for one:
// no lane waits longer for its first attempt.
func TestLocateGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		stuck := make(chan struct{})
		f.before = func() { <-stuck }
		began := time.Now()
		for range 2 * maxLocating {
			go l.locate(t.Context(), "t")
		}
		time.Sleep(lookTime + graceTime)
		synctest.Wait()
		if len(l.locating) != 0 || time.Since(began) != lookTime+graceTime {
			t.Errorf("%d still look, after %v", len(l.locating), time.Since(began))
		}
		if n := l.abandoned.Load(); n != maxLocating {
			t.Errorf("%d calls are stuck, want %d", n, maxLocating)
		}
		close(stuck)
		synctest.Wait()
	})
}
