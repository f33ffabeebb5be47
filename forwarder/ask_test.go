package forwarder_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
)

// asked is a cluster whose name servers do not answer; the queues of a topic are known
// once something was sent to it.
type asked struct {
	*cluster
	silent atomic.Bool
	waited atomic.Int64 // times that somebody did, for name servers
	sent   atomic.Bool
	to     atomic.Int64 // attempts at queues that were named
}

func (a *asked) Queues(ctx context.Context, topic string) []string {
	if !a.sent.Load() {
		a.waited.Add(1)
		if a.silent.Load() {
			time.Sleep(2 * time.Second)
			return nil
		}
	}
	return a.cluster.Queues(ctx, topic)
}

func (a *asked) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	if a.silent.Load() {
		return nil, &broker.SendError{Outcome: message.OutcomeRetryable, Status: "NO_ROUTE"}
	}
	a.sent.Store(true)
	return a.cluster.Send(ctx, msgs)
}

func (a *asked) SendTo(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, error) {
	a.sent.Store(true)
	a.to.Add(1)
	return a.cluster.SendTo(ctx, queue, msgs)
}

func askedInBubble(t *testing.T, do func(r *rig, a *asked)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := &asked{cluster: two(t)}
		r := open(t, nil)
		r.forward(forwarder.Options{}, a)
		do(r, a)
		a.inOrder()
	})
}

// Name servers are waited for where a message with an ordering key waits, and nowhere
// else: the first message goes at once, and is tried again at its own pace.
func TestQueuesAreAskedForWhereAKeyWaits(t *testing.T) {
	askedInBubble(t, func(r *rig, a *asked) {
		a.silent.Store(true)
		r.accept(draft("orders", "no key", ""))
		time.Sleep(time.Minute)
		a.silent.Store(false)
		r.drainedWithin(time.Minute)
		if n := a.waited.Load(); n != 0 {
			t.Errorf("name servers were asked %d times, for a message without a key", n)
		}
		r.accept(draft("orders", "key", "k"))
		r.drainedWithin(time.Minute)
		if a.waited.Load() != 0 || a.to.Load() != 1 {
			t.Errorf("asked %d times for what is known; %d messages were sent to their queues", a.waited.Load(), a.to.Load())
		}
	})
	askedInBubble(t, func(r *rig, a *asked) {
		a.silent.Store(true)
		r.accept(draft("orders", "key", "k"), draft("orders", "no key", ""))
		time.Sleep(time.Minute)
		if a.waited.Load() == 0 {
			t.Error("nobody asked for the queue of a key that waits")
		}
		a.silent.Store(false)
		r.accept(draft("orders", "another", "k"))
		r.drainedWithin(2 * time.Minute)
		if a.to.Load() == 0 {
			t.Error("no message with a key was sent to its queue")
		}
	})
}

// The first message of all, with a key, is bound to its queue before it is sent.
func TestFirstMessageWithAKeyIsBound(t *testing.T) {
	askedInBubble(t, func(r *rig, a *asked) {
		r.accept(draft("orders", "1", "k"), draft("orders", "2", "k"), draft("orders", "3", "other"))
		r.drainedWithin(time.Minute)
		if a.waited.Load() != 1 || a.to.Load() < 1 || a.copies != 0 {
			t.Errorf("asked %d times, %d attempts at named queues", a.waited.Load(), a.to.Load())
		}
	})
}
