package spool

import (
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// whereabouts checks an entry sf by itself. Of what is held, the record tells
// whether it leads there.
func (a *auditor) whereabouts(_, v []byte) error {
	w, ok := decodeWhereabouts(v)
	if !ok {
		return errDamaged
	}
	if w.seq == 0 || w.seq > a.head.highWater {
		return fmt.Errorf("it leads to sequence %d, and %d is the last one that was given", w.seq, a.head.highWater)
	}
	a.apart = true
	return nil
}

// found checks that the ID of a record leads to it: by itself, or by an entry sf.
func (a *auditor) found(m *message.Message) error {
	seq, want := uint64(m.ID.Seq32()), m.Seq&0xffffffff
	if a.apart {
		v, err := a.r.Get(importKey(m.ID))
		if err == nil {
			w, _ := decodeWhereabouts(v)
			seq, want = w.seq, m.Seq
		} else if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	if seq != want {
		return fmt.Errorf("the ID of sequence %d leads to %d", m.Seq, seq)
	}
	return nil
}
