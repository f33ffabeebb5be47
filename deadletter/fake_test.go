package deadletter_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// letter is a message of the fake.
type letter struct {
	spool.Item

	fate  string    // what comes of a redrive: confirmed, "" (nothing yet), or the cause of its next death
	due   time.Time // when that is known
	times int       // it was redriven
	at    time.Time // the first time
}

// fake is a spool whose dead letters meet a scripted fate, a while after their redrive.
type fake struct {
	all   []*letter
	delay time.Duration
	err   error        // of every redrive and discard
	part  int          // that is done for all that
	calls []int        // messages of each
	stop  func(n int)  // called with the number of calls
	bad   []message.ID // are refused

	mu     sync.Mutex
	paused string // topic whose redriven ones have no outcome
}

// add makes n dead letters of a cause, with a fate.
func (f *fake) add(n int, topic, cause, fate string) {
	for range n {
		i := spool.Item{Message: &message.Message{}, Size: 10, Reason: cause}
		binary.BigEndian.PutUint32(i.ID[12:], uint32(len(f.all)+1))
		i.Topic, i.State, i.LastError = topic, message.StateDead, "error of "+cause
		i.AcceptedAt = time.Unix(int64(len(f.all)), 0)
		f.all = append(f.all, &letter{Item: i, fate: fate})
	}
}

func (f *fake) of(id message.ID) *letter {
	i := int(binary.BigEndian.Uint32(id[12:])) - 1
	if i < 0 || i >= len(f.all) {
		return nil
	}
	l := f.all[i]
	if l.State == message.StatePending && f.PausedSince(l.Topic).IsZero() && l.fate != "" && !time.Now().Before(l.due) {
		l.State = message.StateConfirmed
		if l.fate != "confirmed" {
			l.State, l.Reason = message.StateDead, l.fate
		}
	}
	return l
}

// pause pauses a topic; "": it resumes it.
func (f *fake) pause(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = topic
}

func (f *fake) PausedSince(topic string) (since time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if topic == f.paused {
		since = time.Unix(1, 0)
	}
	return since
}

func (f *fake) List(_ context.Context, q spool.Query) (page spool.Page, err error) {
	from := 0
	if q.Cursor != "" {
		if _, err := fmt.Sscan(q.Cursor, &from); err != nil {
			return page, err
		}
	}
	for at := from; at < len(f.all); at++ {
		l := f.of(f.all[at].ID)
		if len(page.Items) == q.Limit {
			page.Next = fmt.Sprint(at)
			return page, nil
		}
		if slices.Contains(q.States, l.State) && (q.Cause == "" || q.Cause == l.Reason) && (q.Topic == "" || q.Topic == l.Topic) {
			page.Items = append(page.Items, l.Item)
		}
	}
	page.Unreadable = 1
	return page, nil
}

func (f *fake) Find(_ context.Context, id message.ID) (spool.Item, error) {
	if l := f.of(id); l != nil {
		return l.Item, nil
	}
	return spool.Item{}, spool.ErrNotFound
}

func (f *fake) Receipt(ctx context.Context, id message.ID) (message.Receipt, error) {
	i, err := f.Find(ctx, id)
	return i.Receipt, err
}

func (f *fake) Redrive(_ context.Context, ids []message.ID) ([]message.ID, map[message.ID]error, error) {
	return f.change(ids, message.StatePending)
}

func (f *fake) Discard(_ context.Context, ids []message.ID) ([]message.ID, map[message.ID]error, error) {
	return f.change(ids, message.StateDiscarded)
}

func (f *fake) change(ids []message.ID, to message.State) (done []message.ID, refused map[message.ID]error, err error) {
	if f.calls = append(f.calls, len(ids)); f.stop != nil {
		f.stop(len(f.calls))
	}
	refused = map[message.ID]error{}
	for _, id := range ids {
		if f.err != nil && len(done) == f.part {
			break
		}
		l := f.of(id)
		if slices.Contains(f.bad, id) || l.State != message.StateDead {
			refused[id] = spool.ErrWrongState
			continue
		}
		if l.times++; l.times == 1 {
			l.at = time.Now()
		}
		l.State, l.due = to, time.Now().Add(f.delay)
		done = append(done, id)
	}
	return done, refused, f.err
}

// redriven counts those that were, and how often at most.
func (f *fake) redriven() (n, most int) {
	for _, l := range f.all {
		if l.times > 0 {
			n++
		}
		most = max(most, l.times)
	}
	return n, most
}
