package rocketmq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

const (
	// graceTime is how long Send waits for the library's own word once the
	// context is done: it knows whether it was still connecting.
	graceTime = 200 * time.Millisecond
	// maxAbandoned calls may be stuck in one lane's client.
	maxAbandoned = 64
)

// sender is what a lane needs of the library's producer.
type sender interface {
	Start() error
	SendSync(ctx context.Context, msgs ...*primitive.Message) (*primitive.SendResult, error)
	Shutdown() error
}

// lane is one client instance at a time, with its own connections and locks.
type lane struct {
	clients  *clients
	selector *selector
	names    nameServers
	timeout  time.Duration

	abandoned atomic.Int32 // calls still in the library after Send gave them up

	locating chan struct{} // has room for those who look for a topic before it is sent

	mu   sync.Mutex
	tail map[string]<-chan struct{} // topic and queue, or key where none is bound → end of its abandoned call
}

// newLane tells the library the name servers of o, and asks those of names.
func newLane(o ProducerOptions, names nameServers, b *breakers, log *slog.Logger) (l *lane, err error) {
	l = &lane{
		selector: newSelector(b), names: names, timeout: o.AttemptTimeout,
		locating: make(chan struct{}, maxLocating), tail: map[string]<-chan struct{}{},
	}
	l.clients, err = newClients(keysOf(o.Keys), func(keys Keys) (sender, error) { return newSender(o, l.selector, keys) }, log)
	return l, err
}

func newSender(o ProducerOptions, s *selector, keys Keys) (sender, error) {
	tcp, applied := tcpOption[producer.Option](producerTimeouts(o.AttemptTimeout))
	p, err := producer.NewDefaultProducer(
		producer.WithNameServer(o.NameServers),
		producer.WithGroupName(o.Group),
		producer.WithInstanceName(newInstance(o.Instance, "producer")),
		producer.WithCredentials(keys.library()),
		producer.WithRetry(0),
		producer.WithCompressMsgBodyOverHowmuch(math.MaxInt32),
		producer.WithQueueSelector(s),
		tcp,
	)
	if err = errors.Join(err, applied()); err != nil {
		return nil, err
	}
	return p, p.Start()
}

func (l *lane) close() error { return l.clients.close() }

// send makes one attempt, at a queue if one is named. On success the error is a
// nil pointer.
func (l *lane) send(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, *broker.SendError) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	topic, key := msgs[0].Topic, msgs[0].OrderingKey
	l.clients.renew()
	one := l.clients.enter() // what is found out for this one holds for no other
	defer l.clients.leave(one)
	order := ""
	if key != "" {
		order = topic + "\x00" + cmp.Or(queue, key)
	}
	if e := l.ready(ctx, one, topic, order); e != nil {
		return nil, e
	}
	a := l.selector.begin(queue, key, len(msgs))
	wire, e := toWire(msgs, a)
	if e != nil {
		l.selector.end(a)
		return nil, e
	}
	result, err := l.watch(ctx, one, a, order, wire)
	e = l.learn(one, topic, l.selector.chosen(a), outcome(result, err, len(msgs)))
	if e != nil {
		return nil, e
	}
	return confirmations(result, msgs), nil
}

// ready returns nil when the attempt may begin. The library's own search for an
// unknown topic ignores the context and takes turns in one lock
// (internal/route.go:123), so it is asked only once the topic is known to exist.
func (l *lane) ready(ctx context.Context, one *client, topic, order string) *broker.SendError {
	if l.abandoned.Load() >= maxAbandoned {
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusStuck,
			Err: fmt.Errorf("%d earlier attempts are still stuck in the client", maxAbandoned)}
	}
	if err := errors.Join(l.overtaken(ctx, order), ctx.Err()); err != nil {
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusTimeout, Err: err}
	}
	if _, known := one.routes.Load(topic); known {
		return nil
	}
	if err := l.names.publishable(ctx, topic); err != nil {
		return ofError(err)
	}
	one.routes.Store(topic, struct{}{})
	return nil
}

// overtaken waits until an abandoned call for the same queue, or ordering key, is
// over: if it sent after its message was given up, that would be out of order.
func (l *lane) overtaken(ctx context.Context, order string) error {
	l.mu.Lock()
	over, waits := l.tail[order]
	l.mu.Unlock()
	if order == "" || !waits {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return errors.New("an earlier attempt of this ordering key or its queue is still stuck in the client")
	}
}

type answer struct {
	result *primitive.SendResult
	err    error
}

// watch calls the library and gives up soon after ctx is done. An abandoned
// call is counted until it returns.
func (l *lane) watch(ctx context.Context, one *client, a *attempt, order string, wire []*primitive.Message) (*primitive.SendResult, error) {
	answered, over := make(chan answer, 1), make(chan struct{})
	l.clients.stay(one)
	go func() {
		defer close(over)
		defer l.clients.leave(one)
		defer l.selector.end(a)
		got := call(ctx, one, wire)
		if got.err == nil {
			a.giveBack()
		}
		answered <- got
	}()
	select {
	case got := <-answered:
		return got.result, got.err
	case <-ctx.Done():
	}
	select {
	case got := <-answered:
		return got.result, got.err
	case <-time.After(graceTime):
		l.abandon(order, over)
		return nil, fmt.Errorf("%w: gave up on a call that does not return", ctx.Err())
	}
}

func call(ctx context.Context, one *client, wire []*primitive.Message) (got answer) {
	defer func() {
		if v := recover(); v != nil {
			got = answer{err: fmt.Errorf("rocketmq client panicked: %v", v)}
		}
	}()
	result, err := one.SendSync(bePatient(ctx), wire...)
	return answer{result, err}
}

func (l *lane) abandon(order string, over <-chan struct{}) {
	l.abandoned.Add(1)
	l.mu.Lock()
	l.tail[order] = over
	l.mu.Unlock()
	go func() {
		<-over
		l.abandoned.Add(-1)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.tail[order] == over {
			delete(l.tail, order)
		}
	}()
}

// learn draws the conclusions of an attempt for the next ones, and adds to its
// error where it was tried.
func (l *lane) learn(one *client, topic string, c choice, e *broker.SendError) *broker.SendError {
	switch {
	case c.refused != "":
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusOpen, Queue: c.refused, Probe: true, Elsewhere: c.others,
			Err: fmt.Errorf("%s fails, and is probed with one message at a time", c.refused)}
	case c.missing != "":
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusNoQueue, Queue: c.missing, Gone: c.gone, Elsewhere: c.others,
			Err: fmt.Errorf("the topic has no queue %s now, which its ordering keys are bound to", c.missing)}
	case c.queue == nil:
		if e != nil && e.Status != statusTimeout {
			one.routes.Delete(topic) // the next attempt looks for it again
		}
		return e
	}
	l.selector.breakers.end(c.queue.BrokerName, c.probe, e)
	if e == nil {
		return nil
	}
	e.Queue = queueName(c.queue)
	if e.Outcome == message.OutcomePermanent || e.Timer != broker.TimerTaken {
		return e
	}
	if !opensBreaker(e) {
		l.selector.penalise(topic, c.queue.BrokerName)
	}
	e.Elsewhere = c.others
	e.Parked = e.Parked && !c.others // another broker may take it
	return e
}
