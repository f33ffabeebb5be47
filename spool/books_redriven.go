package spool

import "bytes"

// redrive is called when all dead letters were read. One that cannot be leaves
// nothing to be redriven: its record may still stand in its block, and is pending
// there.
func (b *books) redrive(k, v []byte) error {
	id, seq := tail32(k, len(againPrefix)), tail64(k, len(againPrefix)+4)
	read, err := decodeRedriven(v)
	rd := b.redriven[seq]
	if l := b.dead[seq]; rd == nil && l != nil { // of a topic whose entry is lost
		rd = &redriven{lane: l, at: read.at}
		delete(b.dead, seq)
		b.redriven[seq] = rd
		b.accounts[l.id].dead--
	}
	switch {
	case isNewer(err):
		return err
	case rd == nil || b.settled.has(seq):
		delete(b.redriven, seq)
		b.deletes = append(b.deletes, bytes.Clone(k))
	case err != nil:
		b.notef("%s: it was written anew", nameOf(k))
		b.sets = append(b.sets, pair{againKey(rd.lane.id, seq), rd.encode()})
	case rd.lane.id != id:
		b.move(k, againKey(rd.lane.id, seq), v)
	}
	return nil
}

func (b *books) forgetLetter(seq uint64) {
	delete(b.dead, seq)
	delete(b.redriven, seq)
}
