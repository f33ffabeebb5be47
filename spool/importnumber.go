package spool

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
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

// whereabouts finds a message that was imported, or delayed. Who concludes something
// from that there are none asks hiddenWhereabouts, too.
func (s *Spool) whereabouts(id message.ID) (p whereabouts, ok bool) {
	if !s.mayHaveImported() {
		return p, false
	}
	v, err := s.db.Get(importKey(id))
	if err != nil {
		return p, false
	}
	return decodeWhereabouts(v)
}

// hiddenWhereabouts is the damage that may hide those of a message; nil: there is none.
func (s *Spool) hiddenWhereabouts(id message.ID) error {
	if !s.mayHaveImported() {
		return nil
	}
	return s.hiddenIn(kv.Scan{Prefix: importKey(id)})
}

// withNumber is tellNumber for who shows a message, also without its number.
func (s *Spool) withNumber(m *message.Message) { _ = s.tellNumber(m) }

// tellNumber puts the number of an imported message into m, a copy. That damage hides it
// is noticed.
func (s *Spool) tellNumber(m *message.Message) error {
	err := s.findNumber(m)
	if errors.Is(err, kv.ErrDamaged) { // it may just be closing
		s.notice(fmt.Sprintf("number of message %s: %v", m.ID, err))
	}
	return err
}

func (s *Spool) findNumber(m *message.Message) error {
	if m.TopicSeq != 0 || !s.mayHaveImported() {
		return nil
	}
	p, ok := s.whereabouts(m.ID)
	if !ok {
		return s.hiddenWhereabouts(m.ID)
	}
	if p.seq == m.Seq {
		m.TopicSeq = p.number
	}
	return nil
}

// findNumberElsewhere does that for a delayed message that falls due. Only one that was
// imported can have a number: for a broker's timer it was pending before.
func (s *Spool) findNumberElsewhere(m *message.Message) error {
	if m.ID.Spool() == s.ID() {
		return nil
	}
	err := s.findNumber(m)
	if errors.Is(err, kv.ErrDamaged) {
		err = s.mustSee(err)
	}
	return err
}

// withItsNumber does that for what is about to be forwarded, which is not without.
func (s *Spool) withItsNumber(l *Lease) error {
	if l.TopicSeq != 0 {
		return nil
	}
	m := *l.Message
	if err := s.findNumber(&m); err != nil {
		return s.mustSee(fmt.Errorf("find number of message %s: %w", m.ID, err))
	}
	l.Message = &m
	return nil
}
