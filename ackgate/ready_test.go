package ackgate

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestApplicationThatIsNotReady: before its first yes nothing is called; a no, or no
// answer, holds the subscription up at once, is asked about again ever less often,
// and the next yes lets it go on. No attempt is burnt.
func TestApplicationThatIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var asked []time.Duration
		ready := func(at time.Duration) bool { return at >= 3*time.Second && at < time.Minute || at > 2*time.Minute }
		ask := func(ctx context.Context) error {
			at := time.Since(began)
			asked = append(asked, at)
			switch {
			case ready(at):
				return nil
			case at > 90*time.Second: // it hangs
				<-ctx.Done()
				return ctx.Err()
			}
			return errors.New("503 Service Unavailable")
		}
		s := newScene(t)
		s.takes = 10 * time.Second
		o := options()
		o.Concurrency, o.Brake = 1, NewBrake("billing", nil)
		s.start(o)
		o.Brake.AwaitReady()
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		go func() {
			if err := o.Brake.Watch(ctx, ask, Readiness{}, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		}()
		after(2*time.Second, func() {
			calls := s.called()
			if state := s.gate.State(); len(calls) != 0 || state.String() != "not_ready" || state.HeldUp[0].Detail != "503 Service Unavailable" {
				t.Errorf("at the start: %d calls, %+v", len(calls), state)
			}
		})
		after(119*time.Second, func() {
			// One each 10 s, from 3 to 8 s on to 1 m or, until it is asked again, 1 m 5 s.
			if n := len(s.called()); n < 6 || n > 7 {
				t.Errorf("%d calls of an application that is not ready since 1 m", n)
			}
		})
		s.run(10*time.Minute, deliveries(9)...)
		synctest.Wait() // for who asks
		if len(s.calls) != 9 {
			t.Errorf("%d calls", len(s.calls))
		}
		for _, call := range s.calls {
			at := call.Attempt
			if at != 1 || s.ends[call.Delivery.Identity] != nil {
				t.Errorf("%s: attempt %d, %v", call.Delivery.Identity, at, s.ends[call.Delivery.Identity])
			}
		}
		for i, at := range asked[1:] {
			if wait := at - asked[i]; wait < 100*time.Millisecond || wait > 7*time.Second {
				t.Errorf("asked at %v, then at %v", asked[i], at)
			}
		}
	})
}
