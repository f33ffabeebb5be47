package spool

import (
	"encoding/binary"

	"github.com/remora-mq/remora/message"
)

// Each message gets a number within its spool ID and topic when it becomes
// pending: contiguous, from 1, the same over every retry and restart. It travels
// with the message, so that the other end sees a gap; which numbers ended
// otherwise than confirmed the spool tells (Exceptions). The counter is written
// with the messages that it numbered. Where it may have gone back, because the
// database lost its end, the spool takes another ID (head.afterDamage).

// Origin is a spool ID under which messages of a topic were numbered.
type Origin struct {
	ID   message.SpoolID
	Last uint64 // number of the newest message
}

// maxOrigins bounds how many are remembered of a topic. There is a new one when
// a volume was copied, or damaged.
const maxOrigins = 6

// numbering is the durable state of a topic's numbers.
type numbering struct {
	origins []Origin // the last one counts on
	earlier uint64   // messages that were accepted under none of them
}

// next returns the number of the next message of a spool ID.
func (n *numbering) next(id message.SpoolID) uint64 {
	if k := len(n.origins); k == 0 || n.origins[k-1].ID != id {
		n.origins = append(n.origins, Origin{ID: id})
	}
	for len(n.origins) > maxOrigins {
		n.earlier += n.origins[0].Last
		n.origins = n.origins[1:]
	}
	now := &n.origins[len(n.origins)-1]
	now.Last++
	return now.Last
}

// given counts the numbers that were given, and the messages accepted before there were any.
func (n *numbering) given() uint64 {
	sum := n.earlier
	for _, o := range n.origins {
		sum += o.Last
	}
	return sum
}

// last is the newest number of a spool ID; false: it is not remembered.
func (n *numbering) last(id message.SpoolID) (uint64, bool) {
	for _, o := range n.origins {
		if o.ID == id {
			return o.Last, true
		}
	}
	return 0, false
}

func (n *numbering) append(b []byte) []byte {
	b = binary.AppendUvarint(b, n.earlier)
	b = append(b, byte(len(n.origins)))
	for _, o := range n.origins {
		b = binary.AppendUvarint(append(b, o.ID[:]...), o.Last)
	}
	return b
}

func decodeNumbering(f *fields) (n numbering) {
	n.earlier = f.uint()
	for range f.raw(1)[0] {
		var o Origin
		copy(o.ID[:], f.raw(len(o.ID)))
		o.Last = f.uint()
		n.origins = append(n.origins, o)
	}
	return n
}
