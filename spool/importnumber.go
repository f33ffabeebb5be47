package spool

import (
	"encoding/binary"

	"github.com/remora-mq/remora/message"
)

// The number that an imported message has in its topic belongs to the spool that
// gave it, as its ID does. It is none of those counted here, so no record has
// it: it lies beside the message's sequence in the entry sf, and is put into what
// leaves the spool.

// encodeImported is the value of an entry sf; number may be 0: there is none.
func encodeImported(seq, number uint64) []byte {
	b := binary.AppendUvarint(nil, seq)
	if number > 0 {
		b = binary.AppendUvarint(b, number)
	}
	return seal(b)
}

func decodeImported(v []byte) (seq, number uint64, ok bool) {
	b, err := unseal(v)
	f := fields{b: b}
	if seq = f.uint(); len(f.b) > 0 { // else it has none, or was written before there were any
		number = f.uint()
	}
	return seq, number, err == nil && !f.failed
}

// imported finds a message that kept the ID of another spool, and the number
// that it had there.
func (s *Spool) imported(id message.ID) (seq, number uint64, ok bool) {
	if !s.mayHaveImported() {
		return 0, 0, false
	}
	v, err := s.db.Get(importKey(id))
	if err != nil {
		return 0, 0, false // the read that follows meets what is wrong, too
	}
	return decodeImported(v)
}

// withNumber puts the number of an imported message into m, a copy.
func (s *Spool) withNumber(m *message.Message) {
	if m.TopicSeq != 0 {
		return
	}
	if seq, number, ok := s.imported(m.ID); ok && seq == m.Seq {
		m.TopicSeq = number
	}
}

// withNumbers does that for what is about to be forwarded.
func (s *Spool) withNumbers(leases []*Lease) {
	if !s.mayHaveImported() {
		return
	}
	for _, l := range leases {
		if l.TopicSeq == 0 {
			m := *l.Message
			s.withNumber(&m)
			l.Message = &m
		}
	}
}

// asRecorded is the leased message as records have it.
func (l *Lease) asRecorded() *message.Message {
	m := *l.Message
	m.TopicSeq = l.entry.msg.TopicSeq
	return &m
}
