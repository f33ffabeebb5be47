package spool

import (
	"fmt"
	"slices"

	"github.com/remora-mq/remora/message"
)

// marks finds what may not be sent again when entries sn may be lost. Only what
// is known to have been confirmed can be: by its receipt, or by an order to send
// it again. All else that has ended, or is a dead letter, and whose record still
// stands in a block, is barred: rather a confirmed message that is not sent again
// than a cancelled one that is.
type marks struct {
	b      *books
	sure   seqSet
	barred []uint64
}

// lostMarks returns nil when no entry sn can be missing.
func (b *books) lostMarks() *marks {
	if !b.salvaged() && !slices.ContainsFunc(b.Spool.doubts, func(d doubted) bool { return string(d.key[:min(2, len(d.key))]) == string(barPrefix) }) {
		return nil
	}
	return &marks{b: b, sure: newSeqSet()}
}

func (m *marks) confirmed(r *receipt) {
	if m != nil && r.State == message.StateConfirmed {
		m.sure.add(r.seq)
	}
}

// meet is called for each record that stands in a block, when all receipts were read.
func (m *marks) meet(seq uint64) {
	if m == nil {
		return
	}
	s := m.b.Spool
	ended := s.settled.has(seq) && !m.sure.has(seq) && !s.copies.due.has(seq)
	if (ended || s.apart(seq)) && !s.retained.barred.has(seq) {
		m.barred = append(m.barred, seq)
	}
}

// close bars what was met, and says so.
func (m *marks) close(report *Damage) {
	if m == nil || len(m.barred) == 0 {
		return
	}
	for _, seq := range m.barred {
		m.b.retained.barred.add(seq)
	}
	report.Found = append(report.Found, fmt.Sprintf("%d messages that are kept will not be sent again: it is not known any more whether they were confirmed", len(m.barred)))
}

// ops write the marks.
func (m *marks) ops() (all []*patch) {
	if m == nil {
		return nil
	}
	const some = 256
	for part := range slices.Chunk(m.barred, some) {
		op := &patch{}
		for _, seq := range part {
			op.sets = append(op.sets, pair{barKey(seq), seal(nil)})
		}
		all = append(all, op)
	}
	return all
}
