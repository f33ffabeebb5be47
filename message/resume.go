package message

import "encoding/binary"

// Resume returns where in b, which begins with a record that cannot be read,
// records begin that follow each other to the very end of b, by their sequences
// too, and come after the sequence after; 0: nowhere. Bytes of a message that
// look like a record lead to no such end.
func Resume(b []byte, after uint64) (at int) {
	budget := 64 * len(b) // bytes to sum, so that no content makes this quadratic
	for at = 1; at < len(b) && budget > 0; at++ {
		if leads(b[at:], after, &budget) {
			return at
		}
	}
	return 0
}

func leads(b []byte, after uint64, budget *int) bool {
	for n := 0; len(b) > 0; n++ {
		size := claimedSize(b)
		if size == 0 || size > *budget {
			return false
		}
		*budget -= size
		r, size, err := DecodeRecord(b)
		if err != nil || r.Seq <= after || n > 0 && r.Seq != after+1 {
			return false
		}
		after, b = r.Seq, b[size:]
	}
	return true
}

// claimedSize is the length of the record that b begins with, as it says
// itself; 0: none that fits.
func claimedSize(b []byte) int {
	if len(b) < 2+lengthBytes+4 {
		return 0
	}
	length, c := binary.Uvarint(b[2 : 2+lengthBytes])
	if size := 2 + lengthBytes + int(length) + 4; c == lengthBytes && size <= len(b) {
		return size
	}
	return 0
}
