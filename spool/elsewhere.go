package spool

import "time"

// A dedupe key may have come with an import whose message was settled where the
// export comes from. It has no sequence here, and takes a place above all
// sequences, which tells when it came: nothing is held there, and there is no
// receipt, so a repeat is told what is kept with the key.
const (
	elsewhereBit   = 1 << 63
	elsewhereShift = 20 // below: a count within the millisecond
)

// elsewhere reports whether seq is the place of a message settled elsewhere.
func elsewhere(seq uint64) bool { return seq&elsewhereBit != 0 }

func cameAt(seq uint64) time.Time {
	return time.UnixMilli(int64(seq &^ elsewhereBit >> elsewhereShift))
}

// place returns one that no other message has.
func (x *keyIndex) place(now time.Time) uint64 {
	x.came = max(x.came+1, elsewhereBit|uint64(max(now.UnixMilli(), 0))<<elsewhereShift)
	return x.came
}
