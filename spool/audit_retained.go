package spool

import (
	"errors"
	"fmt"
)

// kept checks that what an entry keeps for a resend is there, and is held by
// nobody else.
func (a *auditor) kept(k, v []byte) error {
	x, err := decodeRetained(k, v)
	switch {
	case err != nil:
		return err
	case x.kind == retainedPayload:
		return a.keptPayload(&x)
	case x.kind != retainedBlock:
		return fmt.Errorf("kept is %q, which is nothing", x.kind)
	}
	i, err := a.indexAt(x.seq)
	if err != nil {
		return fmt.Errorf("the block that is kept at sequence %d: %w", x.seq, err)
	}
	if i.topic != x.topic || i.count != x.count {
		return fmt.Errorf("kept are %d messages of topic %d, the index says %+v", x.count, x.topic, i)
	}
	for seq := x.seq; seq < x.seq+uint64(x.count); seq++ {
		if a.held.has(seq) && !a.letters.has(seq) {
			return fmt.Errorf("sequence %d is kept for a resend, and pending", seq)
		}
	}
	return nil
}

func (a *auditor) keptPayload(x *retainedEntry) error {
	v, err := a.r.Get(chunkSetKey(x.seq))
	if err != nil {
		return fmt.Errorf("the payload that is kept of sequence %d: %w", x.seq, err)
	}
	set, chunks, err := decodeChunkSet(v)
	if err == nil && (set != x.apart.set || chunks != x.apart.chunks) {
		err = errors.New("kept is another payload than that of the message")
	}
	return err
}

// bar checks that nothing is barred that may still be sent.
func (a *auditor) bar(k, v []byte) error {
	seq := tail64(k, len(barPrefix))
	if a.held.has(seq) && !a.letters.has(seq) || seq > a.head.highWater {
		return fmt.Errorf("sequence %d is barred from being sent again, and pending or unknown", seq)
	}
	a.barred.add(seq)
	_, err := unseal(v)
	return err
}

// order checks that what is to be sent again was confirmed. A block that is gone
// is not looked for: whoever reads it names what is missing.
func (a *auditor) order(k, v []byte) error {
	_, seqs, err := decodeOrder(tail64(k, len(orderPrefix)+4), v)
	if err != nil {
		return err
	}
	if a.topics[tail32(k, len(orderPrefix))] == nil {
		return errNoTopic
	}
	for _, seq := range seqs {
		if !a.settled.has(seq) || a.barred.has(seq) {
			return fmt.Errorf("sequence %d is to be sent again, and was never confirmed", seq)
		}
	}
	return nil
}
