package spool

import "encoding/binary"

// note is what HEAD carries of the spool, outside of the database and at most a
// second behind it: the head, and how much was held.
type note struct {
	head
	held uint64
}

func (n note) encode() []byte {
	return binary.AppendUvarint(appendText(nil, string(n.head.encode())), n.held)
}

// decodeNote returns false for a note that was never written.
func decodeNote(b []byte) (n note, ok bool) {
	f := fields{b: b}
	h, err := decodeHead([]byte(f.text()))
	n = note{head: h, held: f.uint()}
	return n, err == nil && !f.failed
}

// leaveNote is called on the committer's goroutine, after a sync.
func (s *Spool) leaveNote() {
	n := note{head: s.head, held: s.head.highWater - s.settled.messages}
	n.keys = nil // a lost head has them counted
	s.db.Note(n.encode())
}
