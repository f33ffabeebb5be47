package rocketmq

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// fakeSender is the library as a test wants it: it selects like the real one.
type fakeSender struct {
	selector *selector
	queues   []*primitive.MessageQueue
	answer   func(ctx context.Context, msgs []*primitive.Message) (*primitive.SendResult, error)
	before   func() // it looks for the topic's route
	selects  atomic.Int32
}

func (f *fakeSender) Start() error    { return nil }
func (f *fakeSender) Shutdown() error { return nil }

func (f *fakeSender) SendSync(ctx context.Context, msgs ...*primitive.Message) (*primitive.SendResult, error) {
	if f.before != nil {
		f.before()
	}
	f.selects.Add(1)
	q := f.selector.Select(&primitive.Message{Topic: msgs[0].Topic, Queue: msgs[0].Queue}, f.queues, "")
	if q == nil {
		return nil, errors.New("the topic=t route info not found")
	}
	r, err := f.answer(ctx, msgs)
	if r != nil {
		r.MessageQueue = q
	}
	return r, err
}

func newFakeLane() (*lane, *fakeSender) {
	l := &lane{selector: testSelector(), timeout: 5 * time.Second, locating: make(chan struct{}, maxLocating), tail: map[string]<-chan struct{}{}}
	f := &fakeSender{selector: l.selector, queues: queues("ab", 1)}
	l.clients = clientsOf(f)
	l.clients.now.routes.Store("t", struct{}{})
	return l, f
}

func testMessage(seq uint64, key string) *message.Message {
	return &message.Message{ID: message.NewID(message.SpoolID{1, 2, 3, 4, 5}, 1, seq, time.Unix(0, 0)), Topic: "t", OrderingKey: key, Body: []byte("body")}
}

func send(l *lane, msgs ...*message.Message) ([]message.Confirmation, *broker.SendError) {
	return l.send(context.Background(), "", msgs)
}

// The library is stuck where it does not look at the context: Send returns all
// the same, soon after its deadline and with an unknown outcome.
func TestStuckCallIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		stuck := make(chan struct{})
		f.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
			<-stuck
			return nil, errors.New("late")
		}
		began := time.Now()
		_, e := send(l, testMessage(1, ""))
		if e == nil || e.Outcome != unknown || e.Status != statusTimeout || e.Queue == "" {
			t.Errorf("stuck call: %+v", e)
		}
		if took := time.Since(began); took != l.timeout+graceTime {
			t.Errorf("it took %v", took)
		}
		if n := l.abandoned.Load(); n != 1 {
			t.Errorf("%d calls are counted as abandoned, want 1", n)
		}
		if l.selector.breakers.closed(brokerOf(e.Queue)) {
			t.Errorf("the broker of queue %s gets more, as if it had answered", e.Queue)
		}
		close(stuck)
		synctest.Wait()
		if n := l.abandoned.Load(); n != 0 || len(l.tail) != 0 {
			t.Errorf("after it returned: %d abandoned, %d keys wait", n, len(l.tail))
		}
	})
}

// The library sends also for a context that is done (internal/remote/remote_client.go:93).
func TestNothingIsSentWhenTheContextIsDone(t *testing.T) {
	l, f := newFakeLane()
	f.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
		return &primitive.SendResult{OffsetMsgID: "X"}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, e := l.send(ctx, "", []*message.Message{testMessage(1, "")})
	if e == nil || e.Outcome != retryable || e.Status != statusTimeout {
		t.Errorf("%+v", e)
	}
	if n := f.selects.Load(); n != 0 {
		t.Errorf("%d queues were chosen", n)
	}
}

func TestTooManyStuckCallsRefuseMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		stuck := make(chan struct{})
		f.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) { <-stuck; return nil, nil }
		var wg sync.WaitGroup
		for i := range maxAbandoned {
			wg.Go(func() { send(l, testMessage(uint64(i), "")) })
		}
		wg.Wait()
		_, e := send(l, testMessage(1000, ""))
		if e == nil || e.Outcome != retryable || e.Status != statusStuck {
			t.Errorf("one more: %+v", e)
		}
		close(stuck)
	})
}

// A call that was given up may still send. Until it is over, no other message
// of its ordering key is sent.
func TestAbandonedCallKeepsItsKeyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		release := make(chan struct{})
		f.answer = func(_ context.Context, msgs []*primitive.Message) (*primitive.SendResult, error) {
			if msgs[0].GetProperty("UNIQ_KEY") == testMessage(1, "k").ID.String() {
				<-release
			}
			return &primitive.SendResult{OffsetMsgID: "X"}, nil
		}
		send(l, testMessage(1, "k"))
		time.Sleep(time.Second) // the broker may be probed
		if _, e := send(l, testMessage(2, "other")); e != nil {
			t.Errorf("another key: %v", e)
		}
		if _, e := send(l, testMessage(3, "k")); e == nil || e.Outcome != retryable || e.Status != statusTimeout {
			t.Errorf("the same key: %+v", e)
		}
		time.AfterFunc(time.Second, func() { close(release) })
		if _, e := send(l, testMessage(3, "k")); e != nil {
			t.Errorf("the same key, later: %v", e)
		}
	})
}

// The route of a topic is looked for again only when the library has none: while
// no name server answers, what is known has to do.
func TestTimeoutForgetsNoRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := newFakeLane()
		stuck := make(chan struct{})
		l.clients = clientsOf(neverSelecting{stuck})
		l.clients.now.routes.Store("t", struct{}{})
		if _, e := send(l, testMessage(1, "")); e == nil || e.Status != statusTimeout || e.Queue != "" {
			t.Errorf("stuck before a queue was chosen: %+v", e)
		}
		close(stuck)
		if _, known := l.clients.now.routes.Load("t"); !known {
			t.Error("the topic's route is looked for again after a timeout")
		}
		send(l, testMessage(2, ""))
		if _, known := l.clients.now.routes.Load("t"); known {
			t.Error("the topic's route is not looked for again when the library has none")
		}
	})
}

// neverSelecting waits, and has no route.
type neverSelecting struct{ wait <-chan struct{} }

func (neverSelecting) Start() error    { return nil }
func (neverSelecting) Shutdown() error { return nil }

func (n neverSelecting) SendSync(context.Context, ...*primitive.Message) (*primitive.SendResult, error) {
	<-n.wait
	return nil, errors.New("the topic=t route info not found")
}

func TestLibraryPanicIsUnknown(t *testing.T) {
	l, f := newFakeLane()
	f.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) { panic("nil map") }
	if _, e := send(l, testMessage(1, "")); e == nil || e.Outcome != unknown {
		t.Errorf("got %+v", e)
	}
}

// An operator has to act only when no other broker may take the message.
func TestParkedOnlyWithoutAlternative(t *testing.T) {
	l, f := newFakeLane()
	f.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
		return &primitive.SendResult{Status: primitive.SendUnknownError}, libraryCode(codeNoPermission)
	}
	var parked []bool
	for i := range 2 {
		_, e := send(l, testMessage(uint64(i), ""))
		parked = append(parked, e.Parked)
	}
	if parked[0] || !parked[1] {
		t.Errorf("parked %v, want the second only", parked)
	}
}

// Each attempt gets messages of its own: the library writes to them, and keeps
// them when a call is abandoned.
func TestWireMessagesAreCopies(t *testing.T) {
	m := testMessage(1, "k")
	a := testSelector().begin("", "k", 1)
	first, e := toWire([]*message.Message{m}, a)
	if e != nil {
		t.Fatal(e)
	}
	second, _ := toWire([]*message.Message{m}, a)
	first[0].Body[0] = 'X'
	first[0].WithProperty("a", "b")
	if string(m.Body) != "body" || string(second[0].Body) != "body" || second[0].GetProperty("a") != "" {
		t.Error("two attempts share a message")
	}
	if first[0].GetProperty("UNIQ_KEY") != m.ID.String() || first[0].GetProperty("remora-origin") != "0102030405" {
		t.Errorf("properties %v", first[0].GetProperties())
	}
}

// What would harm the broker or its connection is not sent, however it got here.
func TestHarmfulMessagesAreNotSent(t *testing.T) {
	l, f := newFakeLane()
	f.answer = func(context.Context, []*primitive.Message) (*primitive.SendResult, error) {
		t.Error("it was sent")
		return nil, nil
	}
	empty, wide, other := testMessage(1, ""), testMessage(2, ""), testMessage(3, "")
	empty.Body = nil
	for range 200 {
		wide.Keys = append(wide.Keys, string(make([]byte, 200)))
	}
	other.Topic = "other"
	huge := []*message.Message{testMessage(4, ""), testMessage(5, ""), testMessage(6, ""), testMessage(7, "")}
	for _, m := range huge {
		m.Body = make([]byte, 4<<20)
	}
	for _, batch := range [][]*message.Message{{empty}, {wide}, {testMessage(8, ""), testMessage(9, "key")}, {testMessage(8, ""), other}, huge} {
		if _, e := send(l, batch...); e == nil || e.Outcome != permanent || e.Status != statusIllegal {
			t.Errorf("batch of %d: %+v", len(batch), e)
		}
	}
	if len(l.selector.attempts) != 0 {
		t.Errorf("%d attempts were not ended", len(l.selector.attempts))
	}
}

// As above, for all keys of a queue; and nothing takes over from a queue at which
// a call may send yet.
func TestAbandonedCallKeepsItsQueueWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := newFakeLane()
		release := make(chan struct{})
		f.answer = func(_ context.Context, msgs []*primitive.Message) (*primitive.SendResult, error) {
			if msgs[0].GetProperty("UNIQ_KEY") == testMessage(1, "k").ID.String() {
				<-release
			}
			return &primitive.SendResult{OffsetMsgID: "X"}, nil
		}
		to := func(queue string, m *message.Message) *broker.SendError {
			_, e := l.send(t.Context(), queue, []*message.Message{m})
			return e
		}
		to("a/0", testMessage(1, "k"))
		time.Sleep(time.Second) // the broker may be probed
		if e := to("b/0", testMessage(2, "k2")); e != nil {
			t.Errorf("another queue: %v", e)
		}
		if e := to("a/0", testMessage(3, "k3")); e == nil || e.Outcome != retryable || e.Status != statusTimeout {
			t.Errorf("another key of the queue: %+v", e)
		}
		if !l.stuck("t", "a/0") || l.stuck("t", "b/0") {
			t.Error("want a/0 stuck, b/0 not")
		}
		time.AfterFunc(time.Second, func() { close(release) })
		if e := to("a/0", testMessage(3, "k3")); e != nil {
			t.Errorf("later: %v", e)
		}
		synctest.Wait()
		if l.stuck("t", "a/0") {
			t.Error("stuck for ever")
		}
	})
}

// A batch for one queue may be of several keys, and of nothing without one.
func TestBatchOfAQueue(t *testing.T) {
	l, f := newFakeLane()
	f.answer = func(_ context.Context, msgs []*primitive.Message) (*primitive.SendResult, error) {
		return &primitive.SendResult{OffsetMsgID: "X,Y", QueueOffset: 7}, nil
	}
	got, e := l.send(t.Context(), "b/0", []*message.Message{testMessage(1, "k"), testMessage(2, "other")})
	if e != nil || len(got) != 2 || got[1].Queue != "b/0" || got[1].Offset != 8 {
		t.Errorf("%+v, %v", got, e)
	}
	if _, e := l.send(t.Context(), "b/0", []*message.Message{testMessage(1, "k"), testMessage(2, "")}); e == nil || e.Status != statusIllegal {
		t.Errorf("with one that has no key: %v", e)
	}
	_, e = l.send(t.Context(), "b/9", []*message.Message{testMessage(1, "k")})
	if e == nil || e.Outcome != retryable || e.Status != statusNoQueue || !e.Gone || !e.Elsewhere || e.Queue != "b/9" {
		t.Errorf("a queue that is gone: %+v", e)
	}
}
