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
		synctest.Wait()
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

func TestPatienceEndsWithItsParent(t *testing.T) {
	parent, end := context.WithCancel(t.Context())
	p := &patience{parent: parent, most: time.Hour}
	ctx := p.context()
	end()
	<-ctx.Done()
}
