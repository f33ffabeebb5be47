package spool

import (
	"container/list"

	"github.com/remora-mq/remora/message"
)

// fresh are transactions of this process that nobody has changed since they were
// prepared, with their messages: most are decided soon, and a decision that reads
// waits for the commit that is under way, and then for its own. The disk says the same
// of them; what is not here is read. s.mu guards it.
type fresh struct {
	byID   map[string]*list.Element
	oldest *list.List // of *freshTransaction
	bytes  int64
}

type freshTransaction struct {
	Transaction

	bytes int64
}

const (
	// freshBytes bounds what they take in memory; the oldest are left to the disk.
	freshBytes = 4 << 20
	// freshOverhead is what each message takes beside what it counts for.
	freshOverhead = 1 << 10
)

func newFresh() fresh { return fresh{byID: map[string]*list.Element{}, oldest: list.New()} }

// add keeps what was prepared, unless a broker has it, too, or a payload is apart: such
// a decision reads, or the messages are large.
func (f *fresh) add(t *Transaction, added []*newMessage) {
	if t.Half != nil {
		return
	}
	x := &freshTransaction{Transaction: *t, bytes: int64(t.size())}
	for _, n := range added {
		if n.payload != nil {
			return
		}
		x.bytes += int64(n.size) + freshOverhead
	}
	x.fresh = added
	f.byID[t.ID] = f.oldest.PushBack(x)
	for f.bytes += x.bytes; f.bytes > freshBytes; {
		f.remove(f.oldest.Front())
	}
}

// take returns one that is nobody else's from then on; nil: it has to be read.
func (f *fresh) take(id string) *Transaction {
	e := f.byID[id]
	if e == nil {
		return nil
	}
	return &f.remove(e).Transaction
}

// drop forgets one that is about to be written anew.
func (f *fresh) drop(id string) {
	if e := f.byID[id]; e != nil {
		f.remove(e)
	}
}

func (f *fresh) remove(e *list.Element) *freshTransaction {
	x, _ := f.oldest.Remove(e).(*freshTransaction)
	delete(f.byID, x.ID)
	f.bytes -= x.bytes
	return x
}

// prepared is what halfOf reads of a message that has been prepared. Whether it was cancelled
// since is seen when it is moved.
func (n *newMessage) prepared() *movedMessage {
	msg := *n.msg
	m := &movedMessage{from: delayed{due: n.due, deliverAt: n.deliverAt, delay: n.delay, transaction: n.half.ID, record: message.Record{Message: msg}}}
	m.newMessage = newMessage{msg: &msg, size: n.size, moved: &m.from.record, delay: n.delay, deliverAt: n.deliverAt}
	return m
}
