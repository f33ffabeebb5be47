package forwarder_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A topic that has failed for long waits for its next attempt only until one is
// confirmed: what comes behind that one goes at once.
func TestNoBackoffBehindAConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 30 * time.Second
		p := &producer{}
		var mu sync.Mutex
		var last time.Time
		attempts, back := 0, 8 // of them fail
		fails := func() bool {
			mu.Lock()
			defer mu.Unlock()
			if attempts++; attempts <= back {
				last = time.Now()
			}
			return attempts <= back
		}
		s := &sending{p, func(context.Context, []*message.Message) error {
			if fails() {
				return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "CONNECT"}
			}
			time.Sleep(10 * time.Millisecond)
			return nil
		}}
		var drafts []spool.Draft
		for i := range 100 {
			drafts = append(drafts, draft("orders", fmt.Sprint(i), ""))
		}
		r := open(t, p, drafts...)
		r.forward(forwarder.Options{MaxMessages: 64, Retry: backoff.Policy{Initial: wait, Max: wait}}, s)
		r.drainedWithin(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if took := time.Since(last); took > wait+time.Second {
			t.Errorf("all was confirmed %v after the last failure, with waits of at most %v between attempts", took, wait)
		}
	})
}
