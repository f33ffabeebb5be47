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
		first := p.context(time.Now())
		time.Sleep(time.Second)
		if p.context(time.Now()) != first {
			t.Error("a request within an eighth has a context of its own")
		}
		time.Sleep(time.Millisecond)
		second := p.context(time.Now())
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
	ctx := p.context(time.Now())
	end()
	<-ctx.Done()
}
