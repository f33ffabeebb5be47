package forwarder

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/spool"
)

// keys is what a lane knows of the queues that its ordering keys are bound to.
type keys struct {
	bound []string // the queues that the spool was told; only the lane's goroutine has it

	mu      sync.Mutex
	known   bool                 // the broker has taken messages: its queues are known, and nobody has to be asked
	failing map[string]time.Time // queues that no attempt at was confirmed, and since when
	moved   map[string]time.Time // queues whose keys were moved, and when
}

// backAfter is how long a queue is left alone after its keys were moved.
const backAfter = 10 * time.Minute

// served notes that a queue has taken messages.
func (k *keys) served(queue string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known = true
	delete(k.failing, queue)
}

func (k *keys) areKnown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known
}

// failed notes that a queue has not, and returns for how long.
func (k *keys) failed(queue string) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	since, known := k.failing[queue]
	if !known {
		if k.failing == nil {
			k.failing = map[string]time.Time{}
		}
		since = time.Now()
		k.failing[queue] = since
	}
	return time.Since(since)
}

func (k *keys) wasMoved(queue string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.moved == nil {
		k.moved = map[string]time.Time{}
	}
	k.moved[queue] = time.Now()
	delete(k.failing, queue)
}

// back forgets the queues that may have their keys again, and reports whether
// there was any.
func (k *keys) back(serves func(queue string) bool) (some bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for queue, at := range k.moved {
		if serves(queue) || time.Since(at) >= backAfter {
			delete(k.moved, queue)
			some = true
		}
	}
	return some
}

// bindFirst binds the keys of leases for which the spool was not told any queues yet
// in this run; true: it has been now, and they are to be leased again. Who is asked
// for the queues may not answer, and is waited for, so it is done only here: what has
// no key is sent to any of them.
func (l *lane) bindFirst(ctx context.Context, leases []*spool.Lease) (bound bool, err error) {
	if l.f.binder == nil || leases[0].OrderingKey == "" || l.keys.bound != nil {
		return false, nil
	}
	return l.bind(ctx)
}

// bind tells the spool which queues the topic has, when that has changed.
func (l *lane) bind(ctx context.Context) (changed bool, err error) {
	queues := l.f.binder.Queues(ctx, l.topic)
	if len(queues) == 0 || slices.Equal(queues, l.keys.bound) {
		return false, nil
	}
	if err := l.f.spool.Bind(ctx, l.topic, queues); err != nil {
		return false, err
	}
	l.keys.bound = queues
	return true, nil
}

// rebind follows changes of the topic's queues, and lets those have their keys again
// that are back.
func (l *lane) rebind(ctx context.Context) error {
	if l.f.binder == nil {
		return nil
	}
	if l.keys.areKnown() {
		if _, err := l.bind(ctx); err != nil {
			return err
		}
	}
	if !l.keys.back(func(queue string) bool { return l.f.binder.Serves(l.topic, queue) }) {
		return nil
	}
	return l.f.spool.Unmove(ctx, l.topic)
}

// moveKeys moves what is bound to a queue at which an attempt has just failed,
// when it is time. The leases of that attempt have not ended, so no other is made.
func (l *lane) moveKeys(ctx context.Context, queue string, err error) (moved bool) {
	se := (*broker.SendError)(nil)
	if queue == "" || l.f.binder == nil || !errors.As(err, &se) {
		return false
	}
	failed := l.keys.failed(queue)
	late := l.f.opts.FailoverAfter > 0 && failed >= l.f.opts.FailoverAfter && se.Elsewhere
	if !se.Gone && !late {
		return false
	}
	to := l.f.binder.Instead(l.topic, queue)
	if to == "" {
		return false
	}
	if err := l.f.spool.Move(ctx, l.topic, queue, to); err != nil {
		l.f.log.Error("ordering keys cannot be moved; they wait", "topic", l.topic, "queue", queue, "error", err)
		return false
	}
	l.keys.wasMoved(queue)
	l.told(queue, to, failed, se)
	return true
}

// hurry lets the next attempt be made at once: it goes elsewhere.
func (l *lane) hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.atOnce = true
}

func (l *lane) told(queue, to string, failed time.Duration, se *broker.SendError) {
	reason, text := "failing", "a queue fails for long: its ordering keys move to another one, out of reach of what it may hold of them"
	if se.Gone {
		reason, text = "gone", "a queue is gone from its topic: its ordering keys move to another one"
	}
	l.f.metrics.moved.WithLabelValues(reason).Inc()
	l.f.log.Warn(text, "topic", l.topic, "from", queue, "to", to, "failed_for", failed.Round(time.Millisecond), "error", se)
}
