package forwarder_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"))
}

// producer is a scripted broker: answer decides each attempt; what it stores is
// kept in order.
type producer struct {
	mu     sync.Mutex
	answer func(msgs []*message.Message) *broker.SendError // nil: SEND_OK
	stored []message.Message
	sizes  []int // of the batches that were attempted
}

func (p *producer) Send(_ context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes = append(p.sizes, len(msgs))
	if p.answer != nil {
		if err := p.answer(msgs); err != nil {
			if err.Stored {
				p.store(msgs)
			}
			return nil, err
		}
	}
	return p.store(msgs), nil
}

func (p *producer) store(msgs []*message.Message) []message.Confirmation {
	var out []message.Confirmation
	for _, m := range msgs {
		p.stored = append(p.stored, *m)
		out = append(out, message.Confirmation{OffsetMessageID: fmt.Sprint(len(p.stored)), Queue: "b/0"})
	}
	return out
}

func (p *producer) Close() error { return nil }

// bodies returns what is stored, as texts.
func (p *producer) bodies() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.stored {
		all = append(all, string(m.Body))
	}
	return all
}

type rig struct {
	t *testing.T
	*spool.Spool
	*producer
}

// start runs a forwarder over a real spool until the test ends.
func start(t *testing.T, p *producer, drafts ...spool.Draft) *rig {
	t.Helper()
	return startWith(t, p, p, drafts...)
}

// startWith runs it with a producer that is more than p.
func startWith(t *testing.T, sender broker.Producer, p *producer, drafts ...spool.Draft) *rig {
	t.Helper()
	r := open(t, p, drafts...)
	r.forward(forwarder.Options{AttemptTimeout: time.Second, Retry: backoff.Policy{Initial: time.Millisecond, Max: 4 * time.Millisecond}}, sender)
	return r
}

// forward runs a forwarder that says nothing until the test ends.
func (r *rig) forward(opts forwarder.Options, p broker.Producer) {
	r.run(forwarder.New(opts, r.Spool, p, slog.New(slog.DiscardHandler)))
}

// open makes a spool that holds drafts.
func open(t *testing.T, p *producer, drafts ...spool.Draft) *rig {
	t.Helper()
	r := openWith(t, p, spool.Options{})
	r.accept(drafts...)
	return r
}

// run runs a forwarder until the test ends.
func (r *rig) run(f *forwarder.Forwarder) {
	ctx, stop := context.WithCancel(context.WithoutCancel(r.t.Context())) // ends in the cleanup
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(func() {
		stop()
		running.Wait()
	})
}

func (r *rig) accept(drafts ...spool.Draft) (ids []message.ID) {
	r.t.Helper()
	if len(drafts) == 0 {
		return nil
	}
	receipts, err := r.Append(r.t.Context(), drafts)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, receipt := range receipts {
		ids = append(ids, receipt.ID)
	}
	return ids
}

// drained waits until everything is confirmed or dead.
func (r *rig) drained() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	if err := r.Drained(ctx); err != nil {
		r.t.Fatalf("not drained: %v; ledger %+v", err, r.Ledger().Total)
	}
}

func draft(topic, body, orderingKey string) spool.Draft {
	return spool.Draft{Message: message.Message{Topic: topic, Body: []byte(body), OrderingKey: orderingKey}}
}

func refuse(outcome message.Outcome, status string) *broker.SendError {
	return &broker.SendError{Outcome: outcome, Status: status}
}

func TestForwardsInBatches(t *testing.T) {
	var drafts []spool.Draft
	for i := range 300 {
		drafts = append(drafts, draft("orders", fmt.Sprint(i), ""))
	}
	r := start(t, &producer{}, drafts...)
	r.drained()
	if got := len(r.bodies()); got != 300 {
		t.Fatalf("%d messages were stored", got)
	}
	if len(r.sizes) > 10 {
		t.Fatalf("%d attempts for 300 messages: %v", len(r.sizes), r.sizes)
	}
}

func TestNeverGivesUpUnderTheSameID(t *testing.T) {
	for _, outcome := range []message.Outcome{message.OutcomeRetryable, message.OutcomeUnknown} {
		t.Run(outcome.String(), func(t *testing.T) {
			tries := 0
			seen := map[message.ID]bool{}
			r := start(t, &producer{answer: func(msgs []*message.Message) *broker.SendError {
				seen[msgs[0].ID] = true
				if tries++; tries < 40 {
					return refuse(outcome, "SYSTEM_BUSY")
				}
				return nil
			}})
			id := r.accept(draft("orders", "one", ""))[0]
			got, err := r.Wait(t.Context(), id)
			if err != nil || got.State != message.StateConfirmed || got.Attempts != 40 {
				t.Fatalf("%+v %v", got, err)
			}
			if len(seen) != 1 || !seen[id] {
				t.Fatalf("sent under %v", seen)
			}
			if events := got.History.Events(); len(events) != 16 || got.History.Skipped == 0 {
				t.Fatalf("history %+v", got.History)
			}
		})
	}
}

func TestPermanentOnlyForAMessageRefusedAlone(t *testing.T) {
	p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
		if slices.ContainsFunc(msgs, func(m *message.Message) bool { return string(m.Body) == "bad" }) {
			return refuse(message.OutcomePermanent, "MESSAGE_ILLEGAL")
		}
		return nil
	}}
	r := start(t, p, draft("orders", "a", ""), draft("orders", "bad", ""), draft("orders", "c", ""))
	r.drained()
	if got := fmt.Sprint(r.bodies()); got != "[a c]" {
		t.Fatal(got)
	}
	if n := r.Ledger().Total; n.InSpool.Dead != 1 {
		t.Fatalf("%+v", n)
	}
}

// First appearances of a key keep accept order although attempts fail; other
// keys and topics go on.
func TestOrderThroughRetries(t *testing.T) {
	const keys, each = 5, 40
	n := 0
	p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
		n++
		switch {
		case n%3 == 0:
			return refuse(message.OutcomeRetryable, "SYSTEM_BUSY")
		case n%5 == 0:
			return &broker.SendError{Outcome: message.OutcomeUnknown, Status: "FLUSH_DISK_TIMEOUT", Stored: true}
		}
		return nil
	}}
	r := start(t, p)
	for i := range each {
		for k := range keys {
			r.accept(draft("orders", fmt.Sprintf("%d-%02d", k, i), fmt.Sprint("key", k)))
		}
	}
	r.drained()
	last := map[string]string{}
	seen := map[string]bool{}
	for _, body := range r.bodies() {
		if seen[body] {
			continue
		}
		seen[body] = true
		if key := body[:1]; body < last[key] {
			t.Fatalf("%s appeared after %s", body, last[key])
		}
		last[body[:1]] = body
	}
	if len(seen) != keys*each {
		t.Fatalf("%d of %d arrived", len(seen), keys*each)
	}
}

// A topic the broker does not take keeps no other topic waiting.
func TestOtherTopicsGoOn(t *testing.T) {
	p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
		if msgs[0].Topic == "stuck" {
			return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "TOPIC_NOT_EXIST", Parked: true}
		}
		return nil
	}}
	r := start(t, p)
	for range 200 {
		r.accept(draft("stuck", "s", ""))
	}
	id := r.accept(draft("free", "f", ""))[0]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := r.Wait(ctx, id); err != nil || got.State != message.StateConfirmed {
		t.Fatalf("%+v %v", got, err)
	}
	if n := r.Ledger().Topics["stuck"]; n.InSpool.Held() != 200 || n.InSpool.Dead != 0 {
		t.Fatalf("%+v", n)
	}
}

// A status that stores a copy is probed with one message at a time.
func TestNotOKStatusLeavesFewCopies(t *testing.T) {
	bad := 30
	p := &producer{answer: func([]*message.Message) *broker.SendError {
		if bad--; bad >= 0 {
			return &broker.SendError{Outcome: message.OutcomeUnknown, Status: "SLAVE_NOT_AVAILABLE", Stored: true}
		}
		return nil
	}}
	var drafts []spool.Draft
	for i := range 128 {
		drafts = append(drafts, draft("orders", fmt.Sprint(i), ""))
	}
	r := start(t, p, drafts...)
	r.drained()
	if copies := len(r.bodies()) - 128; copies > 128+30 {
		t.Fatalf("%d copies: more than what was in flight at the first and one a probe; batches %v", copies, r.sizes)
	}
}
