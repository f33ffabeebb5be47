package ackgate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errFake = errors.New("as the script says")

// scene is a gate between a scripted broker, store and handler, all in one, so
// that what happened has one order.
type scene struct {
	t      *testing.T
	gate   *Gate
	leases *Leases
	during func(call *push.Call) // runs in the handler before it answers

	verdict func(call *push.Call) *push.Answer // before answers; nil: none
	dying   func(identity string)              // a message becomes a dead letter

	mu       sync.Mutex
	answers  []push.Answer // of the handler in turn; then Done
	takes    time.Duration // how long the handler works
	backs    []error       // of SendBack in turn; then nil
	asked    time.Duration // how long SendBack takes
	faults   []error       // of the store in turn, nil: none; then none
	boom     int           // how many handler calls panic first
	noStore  bool
	pulls    bool          // there is no handler
	ahead    int           // how many are delivered at a time beside those that may be called for
	doneFail int           // how many calls of Done fail first
	doneAway time.Duration // how long calls of Done fail, from the first one on
	doneFrom time.Time     // of that
	relFail  int           // how many calls of Release fail first

	events   []string
	calls    []push.Call
	inFlight int
	most     int
	marks    map[dedupe.Key]*fakeMark
	token    uint64
	deliver  []*message.Delivery
	ends     map[string]error // by identity, what receive returned
}

type fakeMark struct {
	done     []dedupe.Fingerprint
	held     bool
	until    time.Time
	token    uint64
	attempts int
	effect   dedupe.Fingerprint
}

func newScene(t *testing.T) *scene {
	return &scene{t: t, marks: map[dedupe.Key]*fakeMark{}, ends: map[string]error{}}
}

func options() Options {
	return Options{Subscription: "billing", Scope: "c/orders/billing", Retry: backoff.Policy{Initial: time.Second, Max: 2 * time.Hour}}
}

func (s *scene) start(o Options) *scene {
	store := s.store()
	if s.noStore {
		store = nil
	}
	if s.leases == nil {
		s.leases = NewLeases()
		s.leases.Ready()
	}
	var handler Handler = (*fakeHandler)(s)
	if s.pulls {
		handler = nil
	}
	s.gate = New(o, (*fakeConsumer)(s), store, handler, s.leases, nil, nil)
	return s
}

func (s *scene) store() dedupe.Store { return (*fakeStore)(s) }

// run delivers ds, ends the context after d, and waits for the end.
func (s *scene) run(d time.Duration, ds ...*message.Delivery) *scene {
	s.t.Helper()
	if s.gate == nil {
		s.start(options())
	}
	s.deliver = ds
	select {
	case <-s.gate.ended: // it runs again, as another one would
		s.gate.ended = make(chan struct{})
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if err := s.gate.Run(ctx); err != nil {
		s.t.Errorf("run: %v", err)
	}
	return s
}

func (s *scene) note(format string, args ...any) {
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *scene) happened(event string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.events, event)
}

func (s *scene) count(event string) (n int) {
	synctest.Wait() // for what the application said
	for _, e := range s.events {
		if e == event {
			n++
		}
	}
	return n
}

// called and tally tell, while it runs, of the calls, and of events that begin so.
func (s *scene) called() []push.Call {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *scene) tally(prefix string) (n int) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if strings.HasPrefix(e, prefix) {
			n++
		}
	}
	return n
}

func delivery(id string) *message.Delivery {
	d := &message.Delivery{Identity: id, Attempt: 1, Queue: "broker-a/0", Group: "billing"}
	d.Topic, d.Body = "orders", []byte("body of "+id)
	return d
}

// next takes the first of a script.
func next[T any](script *[]T, otherwise T) T {
	if len(*script) == 0 {
		return otherwise
	}
	v := (*script)[0]
	*script = (*script)[1:]
	return v
}

// fakeConsumer delivers as the real ones do: at most as many at a time as calls are
// allowed, beside those that are parked.
type fakeConsumer scene

func (c *fakeConsumer) Consume(ctx context.Context, receive broker.Receiver) error {
	var wg sync.WaitGroup
	places := make(chan struct{}, c.gate.o.Concurrency+c.ahead)
	for _, d := range c.deliver {
		leave, ok := enter(ctx, places, d)
		if !ok {
			break
		}
		wg.Go(func() {
			defer leave()
			c.receive(ctx, d, receive)
		})
	}
	wg.Wait()
	return nil
}

// enter takes one of the places, which parking the delivery leaves too.
func enter(ctx context.Context, places chan struct{}, d *message.Delivery) (leave func(), ok bool) {
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	parked := d.Park // a test listens
	leave = sync.OnceFunc(func() { <-places })
	d.Park = func() {
		leave()
		if parked != nil {
			parked()
		}
	}
	return leave, true
}

func (c *fakeConsumer) receive(ctx context.Context, d *message.Delivery, receive broker.Receiver) (acked bool) {
	err := receive(ctx, d)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends[d.Identity] = err
	if err == nil {
		(*scene)(c).note("ack %s", d.Identity)
	} else if ctx.Err() == nil {
		c.t.Errorf("%s: receive gave up: %v", d.Identity, err)
	}
	return err == nil
}

func (c *fakeConsumer) SendBack(ctx context.Context, d *message.Delivery, back broker.SendBack) error {
	time.Sleep(c.asked)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	what := "back"
	if back.DeadLetter {
		what = "dead"
		if c.dying != nil {
			c.dying(d.Identity)
		}
	}
	err := next(&c.backs, nil)
	if err != nil {
		what += " refused"
	}
	(*scene)(c).note("%s %s", what, d.Identity)
	return err
}

type fakeHandler scene

func (h *fakeHandler) Deliver(ctx context.Context, call *push.Call) push.Answer {
	h.mu.Lock()
	h.calls = append(h.calls, *call)
	h.inFlight++
	h.most = max(h.most, h.inFlight)
	answer := next(&h.answers, push.Answer{Disposition: push.Done, Status: 200})
	if h.verdict != nil {
		if v := h.verdict(call); v != nil {
			answer = *v
		}
	}
	boom := h.boom > 0
	h.boom--
	(*scene)(h).note("call %s", call.Delivery.Identity)
	h.mu.Unlock()
	if h.during != nil {
		h.during(call)
	}
	ctx, cancel := context.WithTimeout(ctx, call.Timeout)
	defer cancel()
	err := sleepUnless(ctx, h.takes, nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight--
	if boom {
		panic("as the script says")
	}
	if err != nil {
		return push.Answer{Err: err}
	}
	if answer.Disposition == push.Done {
		(*scene)(h).note("200 %s", call.Delivery.Identity)
	}
	return answer
}

type fakeStore scene

func (s *fakeStore) fault(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return next(&s.faults, nil)
}

func (s *fakeStore) of(k dedupe.Key) *fakeMark {
	if s.marks[k] == nil {
		s.marks[k] = &fakeMark{}
	}
	return s.marks[k]
}

func (s *fakeStore) Begin(ctx context.Context, k dedupe.Key, f dedupe.Fingerprint, lease time.Duration) (dedupe.Mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fault(ctx); err != nil {
		return dedupe.Mark{}, err
	}
	m := s.of(k)
	conflict := len(m.done) > 0
	switch {
	case slices.Contains(m.done, f):
		(*scene)(s).note("repeat %s", k.Key)
		return dedupe.Mark{Verdict: dedupe.Repeat}, nil
	case m.held && time.Now().Before(m.until):
		return dedupe.Mark{Verdict: dedupe.InProgress, Until: m.until}, nil
	}
	s.token++
	m.held, m.until, m.token, m.effect = true, time.Now().Add(lease), s.token, f
	m.attempts++
	return dedupe.Mark{Verdict: dedupe.Begun, Conflict: conflict, Attempt: m.attempts, Until: m.until, Token: m.token}, nil
}

func (s *fakeStore) settle(ctx context.Context, k dedupe.Key, mark dedupe.Mark, do func(m *fakeMark)) error {
	if err := s.fault(ctx); err != nil {
		return err
	}
	m := s.of(k)
	if m.token != mark.Token {
		return dedupe.ErrFenced
	}
	do(m)
	return nil
}

func (s *fakeStore) Extend(ctx context.Context, k dedupe.Key, mark dedupe.Mark, lease time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settle(ctx, k, mark, func(m *fakeMark) { m.until = time.Now().Add(lease) })
}

func (s *fakeStore) Done(ctx context.Context, k dedupe.Key, mark dedupe.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doneFail > 0 {
		s.doneFail--
		return errFake
	}
	if s.doneFrom.IsZero() {
		s.doneFrom = time.Now()
	}
	if time.Since(s.doneFrom) < s.doneAway {
		return errFake
	}
	return s.settle(ctx, k, mark, func(m *fakeMark) {
		m.done, m.held = append(m.done, m.effect), false
		(*scene)(s).note("done %s", k.Key)
	})
}

func (s *fakeStore) Release(ctx context.Context, k dedupe.Key, mark dedupe.Mark, counts bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relFail > 0 {
		s.relFail--
		return errFake
	}
	return s.settle(ctx, k, mark, func(m *fakeMark) {
		if m.held && !counts {
			m.attempts--
		}
		m.held = false
	})
}

func (s *fakeStore) Forget(ctx context.Context, k dedupe.Key, mark dedupe.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settle(ctx, k, mark, func(m *fakeMark) { m.held, m.attempts = false, 0 })
}

func (s *fakeStore) Close() error { return nil }
