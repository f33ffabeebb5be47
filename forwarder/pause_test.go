package forwarder_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
)

// held is a producer whose attempts wait until they may end, or the test does, and tell
// that they began.
type held struct {
	producer

	began chan string // the first body of each
	end   chan struct{}
}

func newHeld(t *testing.T) *held {
	h := &held{began: make(chan string, 100), end: make(chan struct{})}
	h.answer = func(msgs []*message.Message) *broker.SendError {
		h.began <- string(msgs[0].Body)
		select {
		case <-h.end:
		case <-t.Context().Done(): // a test that has failed ends
		}
		return nil
	}
	return h
}

func (r *rig) pause(topic string) {
	r.t.Helper()
	if _, err := r.PauseTopic(r.t.Context(), topic); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) resume(topic string) {
	r.t.Helper()
	if err := r.ResumeTopic(r.t.Context(), topic); err != nil {
		r.t.Fatal(err)
	}
}

// While a topic is paused no attempt begins, also not of what was leased and waited for
// a slot; what is in flight ends, others go on, and what is left goes at once, in order,
// when it is resumed.
func TestNoAttemptWhilePaused(t *testing.T) {
	p := newHeld(t)
	r := open(t, &p.producer, draft("t", "0", "k"))
	r.forward(forwarder.Options{Concurrency: 1, MaxMessages: 1, AttemptTimeout: time.Minute}, p)
	if got := <-p.began; got != "0" {
		t.Fatalf("began %s", got)
	}
	r.accept(draft("t", "in line", ""), draft("t", "1", "k"))
	for r.Ledger().Topics["t"].InSpool.InFlight < 2 { // the one in line is leased
		time.Sleep(time.Millisecond)
	}
	r.pause("t")
	r.accept(draft("t", "2", "k"), draft("other", "x", ""))
	p.end <- struct{}{}
	if got := <-p.began; got != "x" { // it had the slot after the one in line, if that had not been given back
		t.Fatalf("an attempt of %s began while its topic is paused", got)
	}
	p.end <- struct{}{}
	r.drained()
	if n := r.KeptBack(); n != 3 {
		t.Errorf("%d are kept back, of 3 that were not attempted", n)
	}
	close(p.end)
	r.resume("t")
	r.drained()
	if got := r.bodies(); fmt.Sprint(got[:2]) != "[0 x]" || len(got) != 5 || slices.Index(got, "1") > slices.Index(got, "2") {
		t.Errorf("stored %v", got)
	}
}

// A topic that fails and is paused is no trouble of the broker.
func TestPausedTopicIsNotFailing(t *testing.T) {
	p := &producer{answer: func([]*message.Message) *broker.SendError { return refuse(message.OutcomeRetryable, "SYSTEM_BUSY") }}
	r := open(t, p, draft("t", "x", ""))
	f := forwarder.New(forwarder.Options{Concurrency: 1}, r.Spool, p, slog.New(slog.DiscardHandler))
	r.run(f)
	for f.Failing() == 0 {
		time.Sleep(time.Millisecond)
	}
	if parked, failing := f.HeldUp("t"); parked != "" || failing == "" {
		t.Errorf("parked %q, failing %q", parked, failing)
	}
	r.pause("t")
	r.drained() // what was in flight has failed
	if parked, failing := f.HeldUp("t"); parked+failing != "" || f.Failing() != 0 || len(f.FailingTopics()) > 0 {
		t.Errorf("failing are %v", f.FailingTopics())
	}
}
