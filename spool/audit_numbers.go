package spool

import (
	"errors"
	"fmt"

	"github.com/remora-mq/remora/message"
)

// auditNumbers are the topic sequences that were read of one topic and origin.
type auditNumbers struct {
	held      settledSet // numbers of held messages
	seq, last uint64     // of the newest record in a block
}

func (t *auditTopic) of(id message.SpoolID) *auditNumbers {
	n := t.numbers[id]
	if n == nil {
		n = &auditNumbers{held: settledSet{ranges: map[uint64]*bitmap{}}}
		t.numbers[id] = n
	}
	return n
}

// exceptions counts what ended otherwise than confirmed.
func (a *auditor) exceptions(k, v []byte) error {
	all, err := decodeExceptions(v)
	if err != nil {
		return err
	}
	t := a.topics[tail32(k, len(exceptPrefix)+8)]
	if t == nil || len(all) != exceptionCount(k) {
		return errors.New("exceptions are filed under a wrong topic or number")
	}
	t.exceptions += uint64(len(all))
	for _, e := range all {
		if !a.settled.has(e.seq) {
			return fmt.Errorf("sequence %d is an exception, %s, and not settled", e.seq, e.State)
		}
		if last, known := t.lane.numbers.last(e.Origin); known && e.TopicSeq > last {
			return fmt.Errorf("number %d is an exception, the last that was given is %d", e.TopicSeq, last)
		}
	}
	return nil
}

// number checks what is true of each held message: its number was given, and
// to no other.
func (t *auditTopic) number(r message.Record) error {
	if r.TopicSeq == 0 {
		return nil // from before there were any: numbering.earlier counts it
	}
	if last, known := t.lane.numbers.last(r.ID.Spool()); known && r.TopicSeq > last {
		return fmt.Errorf("sequence %d has number %d in its topic, the last that was given is %d", r.Seq, r.TopicSeq, last)
	}
	n := t.of(r.ID.Spool())
	if n.held.has(r.TopicSeq) {
		return fmt.Errorf("sequence %d has number %d in its topic, as another message", r.Seq, r.TopicSeq)
	}
	n.held.set(r.TopicSeq)
	return nil
}

// follow checks what is true of all records in blocks, which come in order:
// numbers rise with sequences and no faster, and in a block, whose first is told
// by x, as fast.
func (t *auditTopic) follow(r message.Record, x index, firstSeq uint64) error {
	n := t.of(r.ID.Spool())
	seq, last := n.seq, n.last
	n.seq, n.last = r.Seq, r.TopicSeq
	switch {
	case r.TopicSeq == 0 && x.number == 0:
		return nil
	case r.ID.Spool() != x.origin, r.TopicSeq != x.number+r.Seq-firstSeq:
	case seq > 0 && (r.TopicSeq <= last || r.TopicSeq-last > r.Seq-seq):
	default:
		return nil
	}
	return fmt.Errorf("sequence %d has number %d in its topic, which does not follow %d of sequence %d", r.Seq, r.TopicSeq, last, seq)
}
