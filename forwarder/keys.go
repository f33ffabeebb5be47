package forwarder

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/spool"
)

// keys is what a lane knows of the queues that its ordering keys are bound to.
type keys struct {
	bound  []string // the queues that the spool was told; only the lane's goroutine has it
	spread bool     // over all of them, and those that were moved not moved again yet; as above

	telling sync.Mutex // the spool: it has one caller of Bind, Unmove and Move

	mu      sync.Mutex
	known   bool                 // the broker has taken messages: its queues are known, and nobody has to be asked
	failing map[string]failure   // queues that no attempt at was confirmed
	moved   map[string]time.Time // queues whose keys were moved, and when
}

// failure is of a queue: from the first attempt in the row to the last.
type failure struct{ since, last time.Time }

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

// failed notes that a queue has not, and returns for how long. What it was before a gap
// in which nothing was tried is not known. The rate lets a message be sent every so often:
// those of all queues that fail wait for it.
func (k *keys) failed(queue string, gap, every time.Duration) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, f := time.Now(), k.failing[queue]
	if now.Sub(f.last) > gap+every*time.Duration(len(k.failing)+1) {
		f.since = now
	}
	f.last = now
	if k.failing == nil {
		k.failing = map[string]failure{}
	}
	k.failing[queue] = f
	return now.Sub(f.since)
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

// back are the queues that may have their keys again.
func (k *keys) back(serves func(queue string) bool) (back []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for queue, at := range k.moved {
		if serves(queue) || time.Since(at) >= backAfter {
			back = append(back, queue)
		}
	}
	return back
}

// away are the queues whose keys were moved.
func (k *keys) away() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.moved))
}

// forget takes queues as if their keys had not been moved.
func (k *keys) forget(queues ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, queue := range queues {
		delete(k.moved, queue)
	}
}

// bindFirst binds the keys of leases for which the spool was not told any queues yet
// in this run; true: it has been now, and they are to be leased again. Who is asked
// for the queues may not answer, and is waited for, so it is done only here: what has
// no key is sent to any of them.
func (l *lane) bindFirst(ctx context.Context, leases []*spool.Lease) (bound bool, err error) {
	if l.f.binder == nil || leases[0].OrderingKey == "" || l.keys.bound != nil {
		return false, nil
	}
	if bound, err = l.bind(ctx); err == nil {
		err = l.moveAgain(ctx)
	}
	return bound, err
}

// bind tells the spool which queues the topic has, when that has changed.
func (l *lane) bind(ctx context.Context) (changed bool, err error) {
	queues := l.f.binder.Queues(ctx, l.topic)
	if len(queues) == 0 || slices.Equal(queues, l.keys.bound) {
		return false, nil
	}
	l.keys.telling.Lock()
	defer l.keys.telling.Unlock()
	if err := l.f.spool.Bind(ctx, l.topic, queues); err != nil {
		return false, err
	}
	l.keys.bound, l.keys.spread = queues, true
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
	back := l.keys.back(func(queue string) bool { return l.f.binder.Serves(l.topic, queue) })
	if len(back) > 0 {
		if err := l.unmove(ctx); err != nil {
			return err
		}
		l.keys.spread = true
		l.keys.forget(back...)
	}
	return l.moveAgain(ctx)
}

func (l *lane) unmove(ctx context.Context) error {
	l.keys.telling.Lock()
	defer l.keys.telling.Unlock()
	return l.f.spool.Unmove(ctx, l.topic)
}

// moveAgain keeps keys from the queues that they were moved from, and that are not back:
// where they were spread over all queues just now. No attempt is made at those, since no key
// was bound to them, and nothing is leased before this has succeeded.
func (l *lane) moveAgain(ctx context.Context) error {
	if !l.keys.spread {
		return nil
	}
	for _, queue := range l.keys.away() {
		to := l.f.binder.Instead(l.topic, queue)
		if to == "" {
			l.keys.forget(queue) // they wait for it
			continue
		}
		if err := l.move(ctx, queue, to, func(string) {}); err != nil {
			return err
		}
	}
	l.keys.spread = false
	return nil
}

// move has it noted before anybody spreads the keys again, who has to move these again.
func (l *lane) move(ctx context.Context, from, to string, note func(queue string)) error {
	l.keys.telling.Lock()
	defer l.keys.telling.Unlock()
	err := l.f.spool.Move(ctx, l.topic, from, to)
	if err == nil {
		note(from)
	}
	return err
}

// moveKeys moves what is bound to a queue at which an attempt has just failed,
// when it is time. The leases of that attempt have not ended, so no other is made.
func (l *lane) moveKeys(ctx context.Context, queue string, err error) (moved bool) {
	se := (*broker.SendError)(nil)
	if queue == "" || l.f.binder == nil || !errors.As(err, &se) {
		return false
	}
	failed := l.keys.failed(queue, l.f.opts.failureGap(), every(l.rate))
	late := l.f.opts.FailoverAfter > 0 && failed >= l.f.opts.FailoverAfter && se.Elsewhere
	if !se.Gone && !late {
		return false
	}
	to := l.f.binder.Instead(l.topic, queue)
	if to == "" {
		return false
	}
	if err := l.move(ctx, queue, to, l.keys.wasMoved); err != nil {
		l.f.log.Error("ordering keys cannot be moved; they wait", "topic", l.topic, "queue", queue, "error", err)
		return false
	}
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
