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
	sub       broker.Subscription
	receivers *receivers
	log       *slog.Logger

	ctx   context.Context // done: its member leaves
	calls *gate           // closed: it has left, or with all others, for good
	again backoff.Policy  // before a delivery that failed is tried again here
	order *claims         // nil: the subscription is not ordered
}

func newAcker(ctx context.Context, sub broker.Subscription, r *receivers, log *slog.Logger) *acker {
	r.joins()
	a := &acker{
		sub: sub, receivers: r, log: log, ctx: ctx, calls: &r.calls,
		again: backoff.Policy{Initial: 5 * time.Second, Max: 5 * time.Minute},
	}
	if sub.Ordered {
		a.order, a.calls = newClaims(ctx, sub.Topic, log), new(gate)
	}
	return a
}

// leave returns when what is delivered has ended, the context being done; or at once,
// where that goes on for a member to come.
func (a *acker) leave(goesOn bool) {
	a.receivers.leaves()
	if !goesOn || a.order != nil {
		a.calls.close()
	}
}

// handle is called by the library for one message. It returns ConsumeSuccess
// after the receiver returned nil, and otherwise never returns: it holds, and
// when its member leaves it ends the goroutine. The library then does nothing
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
		acked = a.inTurn(ctx, msgs)
	}()
	if !acked {
		runtime.Goexit()
	}
	return consumer.ConsumeSuccess, nil
}

// inTurn returns true once the message may be acked, false when the member leaves or
// the message's queue goes to another one before that, or the consumer stops.
func (a *acker) inTurn(ctx context.Context, msgs []*primitive.MessageExt) (acked bool) {
	concurrent, ok := primitive.GetConcurrentlyCtx(ctx)
	if !ok || len(msgs) != 1 {
		a.log.Error("the client delivered messages in a way that it should not; they are held", "messages", len(msgs), "queue_known", ok)
		<-a.ctx.Done()
		return false
	}
	if a.order == nil {
		return a.receivers.once(a.ctx, spotOf(concurrent.MQ, msgs[0]), func() bool { //nolint:contextcheck // the library's context is never done
			return a.hold(a.ctx, a.receivers.ctx, concurrent.MQ, msgs[0])
		})
	}
	held, done, ok := a.order.await(concurrent.MQ, msgs[0])
	if !ok {
		return false
	}
	defer func() { done(acked) }()
	return a.hold(held, held, concurrent.MQ, msgs[0]) //nolint:contextcheck // as above
}

// hold returns true once the message may be acked, false when ctx is done before that;
// but what is at the receiver then may go on for as long as lasting.
func (a *acker) hold(ctx, lasting context.Context, queue primitive.MessageQueue, m *primitive.MessageExt) bool {
	for failures := 1; ctx.Err() == nil; failures++ {
		err := a.deliver(ctx, lasting, queue, m)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		wait := a.again.Delay(failures, backoff.Random{})
		a.logHeld(err, m, wait)
		pause(ctx, wait)
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

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// deliver returns nil only when receive did.
func (a *acker) deliver(ctx, lasting context.Context, queue primitive.MessageQueue, m *primitive.MessageExt) (err error) {
	err = errors.New("receiver did not return")
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	d, err := delivery(m, queue, a.sub)
	if err != nil {
		return err
	}
	select {
	case a.receivers.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	var once sync.Once
	d.Park = func() { once.Do(func() { <-a.receivers.slots }) }
	defer d.Park()
	return a.receivers.receive(lasting, d)
}

// fetched is a filter hook, called between the pull and the queue of messages to
// deliver. When the member leaves, it ends the pulling goroutine: what was
// fetched must not be delivered, and must not meet the channel that Shutdown
// closes, for that would panic (consumer.go:292-311, process_queue.go:124-130). A
// queue of an ordered subscription that is another's ends the same way. To return
// less than was fetched would skip it (push_consumer.go:909-913).
func (a *acker) fetched(f *hooks.FilterMessageContext) ([]*primitive.MessageExt, error) {
	if a.ctx.Err() != nil || a.order != nil && !a.order.expect(f.MQ, f.Msg) {
		runtime.Goexit()
	}
	if a.order == nil {
		a.receivers.reads(f.MQ, f.Msg)
	}
	return f.Msg, nil
}
