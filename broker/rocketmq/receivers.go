package rocketmq

import (
	"context"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
)

// receivers are the deliveries of a consumer that are at its receiver. They are the
// consumer's and not a member's: when other keys take another member, what is at the
// receiver goes on. The copy of its message that the new member fetches waits for it, and
// has its end; so does one that the library fetches again because it had dropped a queue.
//
// Those of an ordered subscription end with their member, as the locks of its queues do:
// before it leaves they have restTime.
type receivers struct {
	ctx     context.Context // done: the consumer stops
	stop    context.CancelFunc
	receive broker.Receiver
	slots   chan struct{} // the library bounds each topic, this both of a group
	calls   gate          // closed: the consumer has stopped

	mu   sync.Mutex
	all  map[spot]*delivering
	kept kept
}

// spot names a message where it lies. Where a broker has lost the end of its log it
// gives an offset again, at another time.
type spot struct {
	queue      primitive.MessageQueue
	offset, at int64
	id         string // of the copy
}

func spotOf(queue primitive.MessageQueue, m *primitive.MessageExt) spot {
	return spot{queue, m.QueueOffset, m.StoreTimestamp, m.OffsetMsgId}
}

// delivering is a message from its delivery to the end of that.
type delivering struct {
	over    chan struct{} // closed at the end; nil: nobody waits for it. Of receivers.mu until then
	acked   bool          // may be read when over is closed
	fetched bool          // it has ended, and its copy is there; of receivers.mu
}

func newReceivers(ctx context.Context, concurrency int, receive broker.Receiver) *receivers {
	r := &receivers{receive: receive, slots: make(chan struct{}, concurrency), all: map[spot]*delivering{}, kept: newKept()}
	r.ctx, r.stop = context.WithCancel(ctx)
	return r
}

// close ends them, and waits for them.
func (r *receivers) close() {
	r.stop()
	r.calls.close()
}

// once has deliver tell whether a message may be acked, unless it is being delivered:
// then it waits for what that comes to. Nothing begins, and nobody waits, when member is
// done.
func (r *receivers) once(member context.Context, of spot, deliver func() (acked bool)) (acked bool) {
	for member.Err() == nil {
		one, isNew := r.begin(of)
		if isNew {
			return r.deliver(member, of, one, deliver)
		}
		select {
		case <-one.over:
			if one.acked {
				r.forget(of, one)
				return true
			}
		case <-member.Done():
		}
	}
	return false
}

func (r *receivers) deliver(member context.Context, of spot, one *delivering, deliver func() bool) (acked bool) {
	defer func() { r.end(of, one, acked, acked && member.Err() != nil && r.ctx.Err() == nil) }()
	return deliver()
}

func (r *receivers) begin(of spot) (one *delivering, isNew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one = r.all[of]; one == nil {
		one = &delivering{}
		r.all[of] = one
		return one, true
	}
	if one.over == nil {
		one.over = make(chan struct{})
	}
	return one, false
}

func (r *receivers) end(of spot, one *delivering, acked, keep bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one.acked = acked
	if keep {
		r.kept.all[of] = one
		time.AfterFunc(keptFor, func() { r.forget(of, one) })
		if one.over == nil {
			one.over = make(chan struct{})
		}
	} else {
		delete(r.all, of)
	}
	if one.over != nil {
		close(one.over)
	}
}

func (r *receivers) forget(of spot, one *delivering) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all[of] == one {
		delete(r.all, of)
		delete(r.kept.all, of)
	}
}
