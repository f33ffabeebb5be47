package ackgate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestCallsShareTheirGrace: it ends Grace after the delivering context, for all of
// them, and is gone with the last one.
func TestCallsShareTheirGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{o: Options{Grace: 3 * time.Second}, graces: graces{of: map[context.Context]*grace{}}}
		ctx, stop := context.WithCancel(t.Context())
		other, stopOther := context.WithCancel(t.Context())
		defer stopOther()
		a, leaveA := g.graceful(ctx)
		b, leaveB := g.graceful(ctx)
		c, leaveC := g.graceful(other)
		if a != b || a == c {
			t.Error("calls of one context, and those alone, share a grace")
		}
		stop()
		leaveA()
		time.Sleep(3*time.Second - time.Nanosecond)
		synctest.Wait()
		if b.Err() != nil {
			t.Error("it ended early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if b.Err() == nil || c.Err() != nil {
			t.Errorf("after Grace: %v, and that of another context: %v", b.Err(), c.Err())
		}
		leaveB()
		leaveC()
		d, leaveD := g.graceful(other)
		if d != c {
			t.Error("the next call of a context got another grace")
		}
		leaveD()
		_, leaveE := g.graceful(t.Context())
		if len(g.graces.of) != 1 {
			t.Errorf("%d are kept beside that in use", len(g.graces.of)-1)
		}
		leaveE()
		_, leaveF := g.graceful(other)
		leaveF()
		stopOther()
		synctest.Wait()
		if len(g.graces.of) != 0 {
			t.Errorf("%d are left", len(g.graces.of))
		}
	})
}
