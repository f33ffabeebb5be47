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
	stuckOnes = 50 // topics
	ofEach    = 20 // messages
	goingOn   = 60 // messages of one that is not stuck
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
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			leases, err := r.Lease(ctx, topic, spool.LeaseOptions{})
			cancel()
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
	if most := int64(budget + 2*(stuckOnes+1)*oneOf); largest() > most {
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
