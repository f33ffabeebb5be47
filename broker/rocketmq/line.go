package rocketmq

import (
	"context"
	"errors"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// line is a queue of an ordered subscription while this member has it: from the
// lock to its return. The messages of an ordering key get their turns in the order
// of the queue; those without a key are one more.
//
//   - Only the head of a key has its turn, until its receiver returned nil.
//   - When the line ends, no more turns are given, and the context of those that
//     have one is done. The queue is given back when they have returned.
//
// All fields but the first two belong to claims.mu.
type line struct {
	ctx context.Context // done: the line ends
	end context.CancelCauseFunc

	puller  *primitive.MessageQueue // by which the client's fetching of the queue is known
	keys    map[string][]*turn      // what was fetched and is not acked, in order
	taken   map[*primitive.MessageExt]*turn
	running int       // receivers
	quiet   time.Time // since when there is none
	renewed time.Time // when the lock was asked for that the broker last gave
	dropped time.Time // when the client was told to drop the queue; zero: it was not
}

// turn is a fetched message's.
type turn struct {
	line  *line
	key   string
	comes chan struct{} // closed: it is there
}

func newLine(ctx context.Context, renewed time.Time) *line {
	l := &line{keys: map[string][]*turn{}, taken: map[*primitive.MessageExt]*turn{}, renewed: renewed}
	l.ctx, l.end = context.WithCancelCause(ctx)
	return l
}

func (l *line) ends() bool { return l.ctx.Err() != nil }

// old reports that the lock may be another's soon. The wall clock goes on while a
// virtual machine is stopped; a jump of it only costs a renewal.
func (l *line) old() bool {
	return time.Since(l.renewed) > believeLock || time.Now().Round(0).Sub(l.renewed.Round(0)) > believeLock
}

// drained reports whether the client may drop the queue: results of receivers have
// been noted, which the library does after them.
func (l *line) drained(now time.Time) bool {
	return l.ends() && l.running == 0 && now.Sub(l.quiet) >= settleTime
}

// expect lines up what was fetched.
func (l *line) expect(msgs []*primitive.MessageExt) {
	for _, m := range msgs {
		t := &turn{line: l, key: m.GetProperty(orderingProperty), comes: make(chan struct{})}
		l.taken[m] = t
		l.keys[t.key] = append(l.keys[t.key], t)
		if len(l.keys[t.key]) == 1 {
			close(t.comes)
		}
	}
}

// next ends the turn of a key's head.
func (l *line) next(key string) {
	rest := l.keys[key][1:]
	if len(rest) == 0 {
		delete(l.keys, key)
		return
	}
	l.keys[key] = rest
	close(rest[0].comes)
}

var (
	errOthersTurn  = errors.New("another member of the group is given the queue")
	errFetchedAnew = errors.New("the client fetches the queue from its offset again")
	errLockLost    = errors.New("the broker gave the queue's lock to another member")
	errLockOld     = errors.New("the broker did not renew the queue's lock in time")
)
