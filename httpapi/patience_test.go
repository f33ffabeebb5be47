package httpapi

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatienceIsSharedAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patience{parent: t.Context(), most: 8 * time.Second}
		first := p.context()
		time.Sleep(time.Second - 1)
		if p.context() != first {
			t.Error("a request within an eighth has a context of its own")
		}
		time.Sleep(time.Nanosecond)
		second := p.context()
		if second == first {
			t.Error("a context is given for longer than an eighth")
		}
		began := time.Now()
		<-second.Done()
		if got := time.Since(began); got != 8*time.Second || second.Err() != context.DeadlineExceeded {
			t.Errorf("ended after %s: %v", got, second.Err())
		}
	})
}

// TestPatienceAfterAPause: a process that was stopped has the time that it is, and
// the context that it gave before, until its timers have run.
func TestPatienceAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patience{parent: t.Context(), most: 8 * time.Second}
		p.context()
		given := p.now.Load()
		time.Sleep(8 * time.Second)
		p.now.Store(given)
		if left, ok := p.context().Deadline(); !ok || time.Until(left) != p.most {
			t.Errorf("a request begins with %s left, want %s", time.Until(left), p.most)
		}
	})
}

func TestPatienceEndsWithItsParent(t *testing.T) {
	parent, end := context.WithCancel(t.Context())
	p := &patience{parent: parent, most: time.Hour}
	ctx := p.context()
	end()
	<-ctx.Done()
}
