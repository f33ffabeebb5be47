package spool

import (
	"encoding/binary"

	"github.com/remora-mq/remora/internal/kv"
)

// note is what HEAD carries of the spool, outside of the database and at most a
// second behind it: the head, and how much was held. Of the keys in use it lists all:
// the current one was added when the database was opened (Admits).
type note struct {
	head
	held uint64
}

// encode leaves the keys out where there are too many for a note; then they are not
// known from it.
func (n note) encode() []byte {
	b := binary.AppendUvarint(appendText(nil, string(n.head.encode())), n.held)
	if len(b) > kv.MaxNote && n.keys != nil {
		n.keys = nil
		return n.encode()
	}
	return b
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
	s.db.Note(n.encode())
}
