package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/hooks"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
)

// acker stands between the library's callback and the receiver. It is the only
// place that returns a ConsumeResult, and the only one it returns is success.
type acker struct {
	sub     broker.Subscription
	receive broker.Receiver
	log     *slog.Logger

	ctx   context.Context // done: the consumer stops
	slots chan struct{}   // the library bounds each topic, this both of a group
	calls gate            // closed: the consumer has stopped
	again backoff.Policy  // before a delivery that failed is tried again here
}

func newAcker(ctx context.Context, sub broker.Subscription, receive broker.Receiver, log *slog.Logger) *acker {
	return &acker{
		sub: sub, receive: receive, log: log, ctx: ctx,
		slots: make(chan struct{}, sub.Concurrency),
		again: backoff.Policy{Initial: 5 * time.Second, Max: 5 * time.Minute},
	}
}

// handle is called by the library for one message. It returns ConsumeSuccess
// after the receiver returned nil, and otherwise never returns: it holds, and
// when the consumer stops it ends the goroutine. The library then does nothing
// with the message, which stays the lowest offset that is not acked
// (consumer/process_queue.go:199-227). Any value returned would do harm: success
// acks, ConsumeRetryLater acks when the send-back is refused, and both acked or
// not the others are sent back too (push_consumer.go:1170-1195).
func (a *acker) handle(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	acked := false
	func() {
		if !a.calls.enter() {
			return
		}
		defer a.calls.leave()
		acked = a.hold(ctx, msgs)
	}()
	if !acked {
		runtime.Goexit()
	}
	return consumer.ConsumeSuccess, nil
}

// hold returns true once the message may be acked, false when the consumer
// stops before that.
func (a *acker) hold(ctx context.Context, msgs []*primitive.MessageExt) bool {
	for failures := 1; a.ctx.Err() == nil; failures++ {
		err := a.deliver(ctx, msgs)
		if err == nil {
			return true
		}
		if a.ctx.Err() != nil {
			return false
		}
		wait := a.again.Delay(failures, backoff.Random{})
		a.logHeld(err, msgs[0], wait)
		a.pause(wait)
	}
	return false
}

func (a *acker) logHeld(err error, m *primitive.MessageExt, wait time.Duration) {
	attrs := []any{"error", err, "topic", a.sub.Topic, "group", a.sub.Group,
		"message_id", m.MsgId, "broker_message_id", m.OffsetMsgId, "next_try", wait}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, "stack", string(p.stack))
	}
	a.log.Error("delivery is held, not acked", attrs...)
}

// panicError is a panic of the receiver.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("receiver panicked: %v", e.value) }

func (a *acker) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-a.ctx.Done():
	}
}

// deliver returns nil only when receive did.
func (a *acker) deliver(ctx context.Context, msgs []*primitive.MessageExt) (err error) {
	err = errors.New("receiver did not return")
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	concurrent, ok := primitive.GetConcurrentlyCtx(ctx)
	if !ok || len(msgs) != 1 {
		return fmt.Errorf("the client delivered %d messages at once, from a known queue: %t", len(msgs), ok)
	}
	d, err := delivery(msgs[0], concurrent.MQ, a.sub)
	if err != nil {
		return err
	}
	select {
	case a.slots <- struct{}{}:
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
	var once sync.Once
	d.Park = func() { once.Do(func() { <-a.slots }) }
	defer d.Park()
	return a.receive(a.ctx, d) //nolint:contextcheck // the library's context is never done
}

// fetched is a filter hook, called between the pull and the queue of messages to
// deliver. When the consumer has stopped, it ends the pulling goroutine: what was
// fetched must not be delivered, and must not meet the channel that Shutdown
// closes, for that would panic (consumer.go:292-311, process_queue.go:124-130).
func (a *acker) fetched(f *hooks.FilterMessageContext) ([]*primitive.MessageExt, error) {
	if a.ctx.Err() != nil {
		runtime.Goexit()
	}
	return f.Msg, nil
}
