package spool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Budget of the tests, and what one message of theirs takes of it.
const (
	budget    = 1 << 20
	ofBudget  = 40 << 10
	oneOf     = ofBudget + 1<<10
	own       = 256 << 10 // what a topic may have besides
	stuckOnes = 50        // topics
	ofEach    = 20        // messages
	goingOn   = 60        // messages of one that is not stuck
)

// stuckTopics is a spool with many topics, of each of which an attempt has failed
// after it was opened; together they hold many times the budget. largest is the most
// that all windows had, which is looked at after each step.
func stuckTopics(t *testing.T) (r *rig, largest func() int64) {
	t.Helper()
	r = newRig(t, spool.Options{Window: budget})
	body := strings.Repeat("x", ofBudget)
	for i := range stuckOnes * ofEach / 5 { // more of them together are stored apart from their records
		r.accept(repeat(5, draft(fmt.Sprint("stuck", i%stuckOnes), body))...)
	}
	for i := range goingOn {
		r.accept(draft("goes on", fmt.Sprint(i, body)))
	}
	r.reopen()
	most := int64(0)
	largest = func() int64 {
		most = max(most, r.Windows())
		return most
	}
	var all sync.WaitGroup
	for i := range stuckOnes {
		all.Go(func() {
			r.Retry(r.lease(fmt.Sprint("stuck", i), 0), time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
		})
	}
	all.Wait()
	largest()
	return r, largest
}

// TestAllTopicsHaveOneBudget: what is read ahead of the forwarder is bounded over all
// topics, also where none of it can be sent, however often is asked for more.
func TestAllTopicsHaveOneBudget(t *testing.T) {
	r, largest := stuckTopics(t)
	for i := range stuckOnes {
		topic := fmt.Sprint("stuck", i)
		for {
			leases, err := r.leaseNow(topic, 0)
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			r.Retry(leases, time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
			largest()
		}
	}
	if most := int64(budget + (stuckOnes+1)*(own+oneOf)); largest() > most {
		t.Errorf("%d bytes are in memory, at most %d are right", largest(), most)
	}
}

// TestFullBudgetStarvesNobody: a topic whose messages are sent goes on to its end,
// in order, where others fill the budget.
func TestFullBudgetStarvesNobody(t *testing.T) {
	r, largest := stuckTopics(t)
	if r.Windows() < budget*3/4 {
		t.Fatalf("only %d bytes are taken", r.Windows())
	}
	for n := 0; n < goingOn; {
		leases := r.lease("goes on", 128)
		for _, l := range leases {
			if body := strings.TrimRight(string(l.Body), "x"); body != fmt.Sprint(n) {
				t.Fatalf("leased %s, want %d", body, n)
			}
			n++
		}
		largest()
		r.confirm(leases)
	}
	if most := int64(budget + 2*(stuckOnes+1)*oneOf); largest() > most {
		t.Errorf("%d bytes are in memory, at most %d are right", largest(), most)
	}
}

// sendable is how many messages of key c the tests below have, which could be sent.
const sendable = 20

// fail leases n messages one by one, whose attempts fail until due.
func (r *rig) fail(topic string, n int, due time.Time) {
	r.t.Helper()
	for range n {
		r.Retry(r.lease(topic, 1), due, message.OutcomeRetryable, "down")
	}
}

// sendsAll leases and confirms what is left of key c, in order.
func (r *rig) sendsAll(topic string) {
	r.t.Helper()
	for n := 0; n < sendable; {
		leases := r.lease(topic, 1)
		if got := strings.TrimRight(string(leases[0].Body), "x"); got != fmt.Sprint("c", n) {
			r.t.Fatalf("leased %s at %d", got, n)
		}
		n++
		r.confirm(leases)
	}
}

// acceptSendable accepts the messages of key c.
func (r *rig) acceptSendable(topic string) {
	r.t.Helper()
	for i := range sendable {
		r.accept(keyed(topic, fmt.Sprint("c", i, strings.Repeat("x", ofBudget)), "c"))
	}
}

// TestAttemptedMessagesStarveNoOtherKey: where others fill the budget, a topic goes on
// behind those of its messages that were attempted and wait, be it for a retry or for
// a dead letter.
func TestAttemptedMessagesStarveNoOtherKey(t *testing.T) {
	body := strings.Repeat("x", ofBudget)
	full := func(t *testing.T, opts spool.Options) *rig {
		opts.Window = budget
		r := newRig(t, opts)
		for i := range stuckOnes {
			r.accept(repeat(1, draft(fmt.Sprint("stuck", i), body))...)
		}
		return r
	}
	stick := func(r *rig) {
		for i := range stuckOnes {
			r.fail(fmt.Sprint("stuck", i), 1, time.Now().Add(time.Hour))
		}
		if r.Windows() < budget*3/4 {
			r.t.Fatalf("only %d bytes are taken", r.Windows())
		}
	}
	t.Run("retry", func(t *testing.T) {
		r := full(t, spool.Options{})
		r.accept(keyed("mixed", body, "a"))
		r.accept(keyed("mixed", body, "b"))
		r.acceptSendable("mixed")
		r.reopen()
		stick(r)
		r.fail("mixed", 2, time.Now().Add(time.Hour))
		r.sendsAll("mixed")
		r.none("mixed")
	})
	t.Run("dead letter", func(t *testing.T) {
		r := full(t, spool.Options{BlockOnDead: true})
		for range 3 {
			r.accept(keyed("mixed", body, "a"))
		}
		r.acceptSendable("mixed")
		r.reopen()
		var leases []*spool.Lease
		eventually(t, func() bool { // that an attempt may be made for all of them is written meanwhile
			r.Release(leases)
			leases = r.lease("mixed", 3)
			return len(leases) == 3
		})
		stick(r)
		r.bury(leases[0])
		r.Retry(leases[1:], time.Now(), message.OutcomeRetryable, "not attempted to its end")
		r.sendsAll("mixed")
		r.none("mixed")
	})
}

// failAll leases what can be leased, of which each first attempt fails, and returns the
// first message that is tried again, or of key c.
func (r *rig) failAll(ctx context.Context, topic string) (*spool.Lease, error) {
	for {
		leases, err := r.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: 1})
		if err != nil {
			return nil, err
		}
		if leases[0].Attempt > 1 || leases[0].OrderingKey == "c" {
			return leases[0], nil
		}
		r.Retry(leases, time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	}
}

// TestStarvingTopicsAreWoken when the messages of another topic leave room, each in its
// turn; one whose caller has left with a lease meanwhile has none.
func TestStarvingTopicsAreWoken(t *testing.T) {
	body := strings.Repeat("x", ofBudget)
	const window = 4 * budget
	const each, topics = 8, 3 // more than a topic may have of its own
	r := newRig(t, spool.Options{Window: window})
	for range window / ofBudget {
		r.accept(draft("fills", body))
	}
	var again message.ID
	for i := range topics + 1 {
		topic := fmt.Sprint("starves", i)
		for k := range each {
			id := r.accept(keyed(topic, body, fmt.Sprint("k", k)))[0].ID
			if i == 0 && k == 0 {
				again = id
			}
		}
		r.accept(keyed(topic, "sendable", "c"))
	}
	r.reopen()
	var filled []*spool.Lease
	for len(filled) < window*3/4/oneOf {
		filled = append(filled, r.lease("fills", 128)...)
	}
	woken := make(chan error, topics+1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range topics + 1 {
		topic := fmt.Sprint("starves", i)
		go func() {
			_, err := r.failAll(ctx, topic)
			woken <- err
		}()
		eventually(t, func() bool { return r.Starving(topic) })
	}
	if _, err := r.RetryNow(ctx, again); err != nil {
		t.Fatal(err)
	}
	if err := <-woken; err != nil {
		t.Fatal(err)
	}
	r.confirm(filled)
	for range topics {
		if err := <-woken; err != nil {
			t.Errorf("a topic sleeps on though there is room: %v", err)
		}
	}
}

// TestMessageAboveTheBudgetGoesAlone, and those behind it wait for it.
func TestMessageAboveTheBudgetGoesAlone(t *testing.T) {
	const window = 8 << 10
	r := newRig(t, spool.Options{Window: window})
	body := strings.Repeat("x", ofBudget)
	for i := range 6 {
		r.accept(keyed("t", fmt.Sprint(i, body), "k"))
		r.accept(keyed("t", fmt.Sprint(i), "k"))
	}
	r.reopen()
	for i := range 12 {
		leases := r.lease("t", 1)
		if body := strings.TrimRight(string(leases[0].Body), "x"); body != fmt.Sprint(i/2) || (len(leases[0].Body) > 1) != (i%2 == 0) {
			t.Fatalf("leased %s at %d", body, i)
		}
		if n := r.Windows(); n > window+2*oneOf {
			t.Errorf("%d bytes are in memory", n)
		}
		r.confirm(leases)
	}
	r.none("t")
	r.balanced()
}

// TestReadWaitsUntilItIsWorthIt: where a full budget has little room again, as it has
// after each message that is sent, nothing is read for it.
func TestReadWaitsUntilItIsWorthIt(t *testing.T) {
	const window, many, sent = 4 * budget, 5000, 300
	r := newRig(t, spool.Options{Window: window})
	body := strings.Repeat("x", 1<<10)
	for range many / 50 {
		r.accept(repeat(50, draft("t", body))...)
	}
	r.reopen()
	reads, before := 0, int64(0)
	for range sent {
		leases, err := r.Lease(t.Context(), "t", spool.LeaseOptions{MaxMessages: many, MaxBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		if now := r.Windows(); now > before {
			reads++
		}
		r.confirm(leases)
		before = r.Windows()
	}
	if before < window/2 || reads > sent/20 {
		t.Errorf("%d reads for %d messages that were sent, with %d bytes in memory", reads, sent, before)
	}
}
