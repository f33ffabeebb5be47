package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fake answers after delay, and fails from the failAt-th message on.
type fake struct {
	delay  time.Duration
	failAt int32
	sent   atomic.Int32
	closed chan struct{}
}

var errFake = errors.New("refused")

func (f *fake) Send([]byte) error {
	if n := f.sent.Add(1); f.failAt > 0 && n >= f.failAt {
		return errFake
	}
	select {
	case <-time.After(f.delay):
		return nil
	case <-f.closed:
		return errors.New("closed")
	}
}

func (f *fake) Close() error { close(f.closed); return nil }

func dialer(fakes ...*fake) func(context.Context) (Client, error) {
	next := 0
	return func(context.Context) (Client, error) {
		f := fakes[next]
		f.closed = make(chan struct{})
		next++
		return f, nil
	}
}

func TestRateAndLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &fake{delay: 10 * time.Millisecond}, &fake{delay: 40 * time.Millisecond}
		opts := Options{Connections: 2, Size: 8, Warmup: 400 * time.Millisecond, Measure: 2 * time.Second}
		var looked time.Duration // when, from the begin
		began := time.Now()
		opts.Loaded = func() {
			looked = time.Since(began)
			select {
			case <-a.closed:
				t.Error("the connections are closed before anybody could look")
			default:
			}
		}
		r, err := Run(t.Context(), dialer(a, b), opts)
		if err != nil {
			t.Fatal(err)
		}
		if looked < 2400*time.Millisecond {
			t.Errorf("looked after %v, before the end", looked)
		}
		if r.Rate != 125 || r.Taken != 300 {
			t.Errorf("rate %v, taken %d, want 125 a second and 300", r.Rate, r.Taken)
		}
		if p50 := r.Latency.ValueAtQuantile(50); p50 < 9_900 || p50 > 10_100 {
			t.Errorf("median %d µs, want 10 ms", p50)
		}
		if most := r.Latency.Max(); most < 39_600 || most > 40_400 {
			t.Errorf("longest %d µs, want 40 ms", most)
		}
	})
}

func TestFirstErrorEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := &fake{delay: time.Hour}, &fake{delay: time.Millisecond, failAt: 3}
		began := time.Now()
		_, err := Run(t.Context(), dialer(good, bad), Options{Connections: 2, Size: 8, Measure: time.Hour})
		if !errors.Is(err, errFake) || time.Since(began) > time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

func TestServerThatHangsEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Run(t.Context(), dialer(&fake{delay: time.Hour}), Options{Connections: 1, Size: 8, Measure: time.Second})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCancelEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Run(ctx, dialer(&fake{delay: time.Millisecond}), Options{Connections: 1, Size: 8, Measure: time.Hour})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestBodiesDiffer(t *testing.T) {
	a, b := NewBodies(1024, 0), NewBodies(1024, 1)
	seen := map[string]bool{}
	for range 500 {
		seen[string(a.Next())] = true
		seen[string(b.Next())] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different bodies of 1000", len(seen))
	}
}
