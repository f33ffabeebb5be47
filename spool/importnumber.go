package spool

import (
	"encoding/binary"

	"github.com/remora-mq/remora/message"
)

// The number that an imported message has in its topic belongs to the spool that
// gave it, as its ID does. It is none of those counted here, so no record has
// it: it lies beside the message's sequence in the entry sf, and is put into what
// leaves the spool.

// whereabouts are an entry sf: where the message is that an ID does not lead to by itself.
type whereabouts struct {
	seq    uint64
	number uint64 // that it has in its topic elsewhere; 0: none
	since  uint64 // it was delayed, and is due since then, in milliseconds since 1970; 0: not known
}

func (p whereabouts) encode() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 3*binary.MaxVarintLen64+trailer), p.seq)
	if p.number > 0 || p.since > 0 {
		b = binary.AppendUvarint(b, p.number)
	}
	if p.since > 0 {
		b = binary.AppendUvarint(b, p.since)
	}
	return seal(b)
}

func decodeWhereabouts(v []byte) (p whereabouts, ok bool) {
	b, err := unseal(v)
	f := fields{b: b}
	p.seq = f.uint()
	for _, n := range [...]*uint64{&p.number, &p.since} {
		if len(f.b) > 0 { // else there is none, or it was written before there were any
			*n = f.uint()
		}
	}
	return p, err == nil && !f.failed
}

// whereabouts finds a message that was imported, or delayed.
func (s *Spool) whereabouts(id message.ID) (p whereabouts, ok bool) {
	if !s.mayHaveImported() {
		return p, false
	}
	v, err := s.db.Get(importKey(id))
	if err != nil {
		return p, false // the read that follows meets what is wrong, too
	}
	return decodeWhereabouts(v)
}

// withNumber puts the number of an imported message into m, a copy.
func (s *Spool) withNumber(m *message.Message) {
	if m.TopicSeq != 0 {
		return
	}
	if p, ok := s.whereabouts(m.ID); ok && p.seq == m.Seq {
		m.TopicSeq = p.number
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
