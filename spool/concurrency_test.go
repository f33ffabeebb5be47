package spool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Everybody at once: nothing is lost, nothing is sent after its cancel, and the
// first appearances of each ordering key are in accept order.
func TestEverybodyAtOnce(t *testing.T) {
	for name, opts := range map[string]spool.Options{"wide": {}, "narrow": {Window: 4 << 10}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, opts)
			c := &crowd{rig: r, sent: map[message.ID]bool{}, next: map[string]int{}}
			c.run(t)
			r.reopen()
			a := r.balanced()
			n := a.Ledger.Total
			if n.Accepted != c.accepted || n.Cancelled != uint64(len(c.cancelled)) || n.Confirmed+n.InSpool.Dead+n.Cancelled != c.accepted {
				t.Errorf("%+v after %d accepts and %d cancels", n, c.accepted, len(c.cancelled))
			}
			for _, id := range c.cancelled {
				if c.sent[id] {
					t.Errorf("%s was sent and cancelled", id)
				}
			}
		})
	}
}

type crowd struct {
	*rig
	mu        sync.Mutex
	accepted  uint64
	cancelled []message.ID
	sent      map[message.ID]bool
	next      map[string]int // by ordering key
}

const (
	crowdTopics  = 3
	crowdAppends = 60
)

func (c *crowd) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	forwarding, stop := context.WithCancel(ctx)
	var callers, lanes sync.WaitGroup
	lanes.Go(func() {
		for {
			topic, err := c.NextTopic(forwarding)
			if err != nil {
				return
			}
			for range 2 {
				lanes.Go(func() { c.forward(forwarding, t, topic) })
			}
		}
	})
	for caller := range 8 {
		callers.Go(func() { c.publish(ctx, t, caller) })
	}
	callers.Go(func() {
		for range 10 {
			if n := c.Total(); n.Accepted != n.Confirmed+n.Cancelled+n.InSpool.Held() {
				t.Errorf("%+v does not balance", n)
			}
			c.Ledger()
			if a, err := c.Audit(ctx); err != nil || !a.Balanced {
				t.Errorf("audit: %+v %v", a.Damage, err)
			}
		}
	})
	callers.Go(func() {
		for n := range 20 {
			c.pauseFor(ctx, t, fmt.Sprint("t", n%crowdTopics))
		}
	})
	callers.Wait()
	if err := c.Drained(ctx); err != nil {
		t.Errorf("drained: %v; %+v", err, c.Ledger().Total)
	}
	stop()
	lanes.Wait()
}

func (c *crowd) publish(ctx context.Context, t *testing.T, caller int) {
	for n := range crowdAppends {
		topic := fmt.Sprint("t", (caller+n)%crowdTopics)
		key := fmt.Sprint(caller, topic)
		drafts := []spool.Draft{keyed(topic, fmt.Sprint(n), key), under(fmt.Sprint(caller, n), draft(topic, "free"))}
		if n%10 == 0 {
			drafts = append(drafts, draft(topic, strings.Repeat("x", 70<<10)))
		}
		got, err := c.Append(ctx, drafts)
		if err != nil {
			t.Error(err)
			return
		}
		c.mu.Lock()
		c.accepted += uint64(len(got))
		c.mu.Unlock()
		switch n % 4 {
		case 0:
			c.tryCancel(ctx, t, got[1].ID)
		case 1:
			if r, err := c.Wait(ctx, got[0].ID); err != nil || r.State != message.StateConfirmed {
				t.Errorf("waited for %s: %s %v", got[0].ID, r.State, err)
			}
		case 2:
			if again, err := c.Append(ctx, drafts[1:2]); err != nil || again[0].ID != got[1].ID {
				t.Errorf("again: %v", err)
			}
		}
	}
}

// pauseFor pauses a topic for a commit or two.
func (c *crowd) pauseFor(ctx context.Context, t *testing.T, topic string) {
	if _, err := c.PauseTopic(ctx, topic); errors.Is(err, spool.ErrNotFound) {
		return
	}
	if err := c.ResumeTopic(ctx, topic); err != nil {
		t.Errorf("resume: %v", err)
	}
}

func (c *crowd) tryCancel(ctx context.Context, t *testing.T, id message.ID) {
	switch _, err := c.Cancel(ctx, id); {
	case err == nil:
		c.mu.Lock()
		c.cancelled = append(c.cancelled, id)
		c.mu.Unlock()
	case !errors.Is(err, spool.ErrAlreadySent) && !errors.Is(err, spool.ErrMaybeSent):
		t.Errorf("cancel: %v", err)
	}
}

// forward ends leases in each way; a message without a key may become dead.
func (c *crowd) forward(ctx context.Context, t *testing.T, topic string) {
	for {
		leases, err := c.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: 16, MaxBytes: 1 << 20})
		if err != nil {
			return
		}
		switch n := rand.IntN(8); {
		case n == 0:
			c.Release(leases)
		case n == 1:
			c.Retry(leases, time.Now().Add(time.Millisecond), message.OutcomeRetryable, "busy")
		case n == 2 && leases[0].OrderingKey == "":
			c.sending(t, leases[:1])
			c.Release(leases[1:])
			if err := c.Bury(ctx, leases[0], "REFUSED", "no"); err != nil {
				t.Error(err)
			}
		default:
			c.sending(t, leases)
			c.confirm(leases)
		}
	}
}

// sending notes what goes out, and that it is in order.
func (c *crowd) sending(t *testing.T, leases []*spool.Lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range leases {
		if c.sent[l.ID] {
			t.Errorf("%s is sent twice", l.ID)
		}
		c.sent[l.ID] = true
		if k := l.OrderingKey; k != "" {
			var n int
			if _, err := fmt.Sscan(string(l.Body), &n); err != nil || n < c.next[k] {
				t.Errorf("key %s: %d comes after %d", k, n, c.next[k])
			}
			c.next[k] = n
		}
	}
}

// What is accepted while a lane is read from disk is behind what was read.
func TestAcceptedDuringAReadIsNotMissed(t *testing.T) {
	r := newRig(t, spool.Options{Window: 1})
	r.accept(draft("t", "0"))
	r.accept(draft("t", "1")) // on disk: the window is full
	r.confirm(r.lease("t", 1))
	r.DuringARead("t", func() { r.accept(draft("t", "2")) })
	for want := 1; want < 5; want++ {
		leases := r.lease("t", 1)
		if string(leases[0].Body) != fmt.Sprint(want) {
			t.Fatalf("%s came, %d is next", leases[0].Body, want)
		}
		if r.confirm(leases); want == 2 {
			r.accept(draft("t", "3"), draft("t", "4"))
		}
	}
}

// A lane that is read from disk while messages are accepted for it must neither
// miss one nor bring one in twice.
func TestReadingBehindTheWindowMissesNothing(t *testing.T) {
	r := newRig(t, spool.Options{Window: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const lanes, each = 4, 200
	var work sync.WaitGroup
	for lane := range lanes {
		topic := fmt.Sprint("t", lane)
		r.accept(draft(topic, "0"))
		work.Go(func() {
			for i := 1; i < each; i++ {
				if _, err := r.Append(ctx, []spool.Draft{draft(topic, fmt.Sprint(i))}); err != nil {
					t.Error(err)
				}
			}
		})
		work.Go(func() {
			for next := 0; next < each; {
				leases, err := r.Lease(ctx, topic, spool.LeaseOptions{})
				if err != nil {
					t.Errorf("%s: message %d never came: %v", topic, next, err)
					return
				}
				for _, l := range leases {
					if string(l.Body) != fmt.Sprint(next) {
						t.Errorf("%s: %s came, %d is next", topic, l.Body, next)
						return
					}
					next++
				}
				r.confirm(leases)
			}
		})
	}
	work.Wait()
	r.reopen()
	r.balanced()
}
