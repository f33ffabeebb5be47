package redis

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// TestHungConnectionHoldsUpNobody for as long as a question may take: neither those
// that are asked over it, nor those that come meanwhile.
func TestHungConnectionHoldsUpNobody(t *testing.T) {
	const timeout, calls = 4 * time.Second, 3 * maxAboard
	redis := server.Redis(t)
	proxy := server.NewProxy(t, redis)
	s := open(t, Options{URL: "redis://" + proxy.Addr(), Timeout: timeout})
	warm(t, s)
	keys, marks := make([]dedupe.Key, calls), make([]dedupe.Mark, calls)
	ask := func(what string, one func(i int) error) {
		var all sync.WaitGroup
		began := time.Now()
		for i := range calls {
			all.Go(func() {
				if err := one(i); err != nil {
					t.Errorf("%s %d: %v", what, i, err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > timeout*3/4 {
			t.Errorf("%s: %v", what, took)
		}
	}
	proxy.Hang(1)
	ask("begin", func(i int) (err error) {
		keys[i] = dedupe.Key{Key: fmt.Sprint(i)}
		if marks[i], err = s.Begin(t.Context(), keys[i], effect, time.Minute); err == nil && (marks[i].Verdict != dedupe.Begun || marks[i].Attempt != 1) {
			err = fmt.Errorf("%v, attempt %d", marks[i].Verdict, marks[i].Attempt)
		}
		return err
	})
	proxy.Hang(2)
	ask("done", func(i int) error { return s.Done(t.Context(), keys[i], marks[i]) })
	if s.Failing() {
		t.Error("it is said to fail")
	}
	wantRepeats(t, s, keys)
	waitUntil(t, "no trip is under way", func() bool { return s.pipe.underWay() == 0 })
}
