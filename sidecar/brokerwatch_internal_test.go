package sidecar

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
)

// The brokers are asked again and again, once for all that decide by it; a call without
// an answer ends, and ending it decides nothing.
func TestBrokersAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[map[string]string] // nil: no answer
		asked, heard := 0, 0                      // of the watch's goroutine, while it runs
		r := newRetention(func(bool) {}, 10*config.Minute, slog.New(slog.DiscardHandler))
		w := &brokerWatch{ask: func(ctx context.Context) ([]rocketmq.BrokerConfig, error) {
			asked++
			if settings := now.Load(); settings != nil {
				return []rocketmq.BrokerConfig{{Name: "a", Settings: *settings}}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}, tell: []func([]rocketmq.BrokerConfig, error){r.hear, func([]rocketmq.BrokerConfig, error) { heard++ }}}
		now.Store(&soundBroker)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.run(ctx) }()
		is := func(keeps bool) {
			t.Helper()
			synctest.Wait()
			if got := r.told.Load(); got.Keeps != keeps {
				t.Errorf("%+v, want keeps %v", *got, keeps)
			}
		}
		is(false)
		now.Store(&asyncBroker)
		time.Sleep(brokersEvery)
		is(true)
		now.Store(&soundBroker)
		time.Sleep(brokersEvery)
		is(false)
		now.Store(nil)
		time.Sleep(brokersEvery + brokersWithin)
		is(true)
		now.Store(&soundBroker)
		time.Sleep(brokersEvery)
		is(false)
		now.Store(nil)
		time.Sleep(brokersWithin) // it looks since 5 s
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		is(false)
		if asked != 6 || heard != 5 {
			t.Errorf("asked %d times, told %d; want 6, and 5: not what was cut off", asked, heard)
		}
	})
}
