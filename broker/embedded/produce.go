package embedded

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// producer is the broker.Producer.
type producer struct {
	b *Broker

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

// Producer returns a producer of its own; closing it leaves the broker open.
func (b *Broker) Producer() broker.Producer { return &producer{b: b} }

// Send implements broker.Producer.
func (p *producer) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	if !p.enter() {
		return nil, failure(statusClosed, broker.ErrClosed)
	}
	defer p.calls.Done()
	if len(msgs) == 0 {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, notSent(err)
	}
	if err := p.b.check(msgs); err != nil {
		return nil, err
	}
	if err := p.b.opts.Room(); err != nil {
		return nil, failure(statusServiceDown, err)
	}
	queue := p.b.pick(msgs[0].Topic, msgs[0].OrderingKey)
	confirmed, err := p.b.attempt(ctx, queue, msgs)
	if err != nil {
		err.Queue = queueName(queue)
		return nil, err
	}
	return confirmed, nil
}

// attempt stores msgs, unless a fault says otherwise, and gives the fault's answer.
func (b *Broker) attempt(ctx context.Context, queue int, msgs []*message.Message) ([]message.Confirmation, *broker.SendError) {
	fault := b.strike(AtSend, msgs[0].Topic)
	var confirmed []message.Confirmation
	if fault.stores() {
		var err error
		if confirmed, err = b.store(ctx, queue, msgs); err != nil {
			return nil, sendError(err)
		}
	}
	return confirmed, fault.answer(ctx)
}

func (p *producer) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.calls.Add(1)
	return true
}

// Close implements broker.Producer.
func (p *producer) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.calls.Wait()
	return nil
}

// store makes msgs durable in one queue.
func (b *Broker) store(ctx context.Context, queue int, msgs []*message.Message) ([]message.Confirmation, error) {
	enc := &encoder{b: b}
	o := &appendOp{topic: msgs[0].Topic, queues: b.opts.Queues, queue: queue}
	for _, m := range msgs {
		o.entries = append(o.entries, enc.entry(m))
	}
	if err := enc.flush(ctx); err != nil {
		return nil, errors.Join(errNotStored, err)
	}
	if err := b.queue.Commit(ctx, o, o.size()); err != nil {
		return nil, err
	}
	return o.confirmations(), nil
}

func (o *appendOp) confirmations() []message.Confirmation {
	out := make([]message.Confirmation, len(o.entries))
	for i, e := range o.entries {
		out[i] = message.Confirmation{
			MessageID: e.identity(), OffsetMessageID: offsetMessageID(e.position),
			Queue: queueName(o.queue), Offset: o.first + int64(i),
		}
	}
	return out
}

func queueName(queue int) string { return "embedded/" + strconv.Itoa(queue) }

// errNotStored: the chunks of a payload may be there, but no message is.
var errNotStored = errors.New("nothing was stored")

// sendError says what a failed commit means for the caller.
func sendError(err error) *broker.SendError {
	unknown := errors.Is(err, kv.ErrUnknown) && !errors.Is(err, errNotStored)
	timeout := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	switch {
	case unknown && timeout:
		return failure(statusTimeout, err)
	case unknown:
		return failure(statusSystem, err)
	case timeout:
		return notSent(err)
	case errors.Is(err, kv.ErrClosed):
		return failure(statusConnect, err)
	}
	return failure(statusServiceDown, err)
}

// notSent is a timeout before anything was stored.
func notSent(err error) *broker.SendError {
	return &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusTimeout, Err: err}
}
