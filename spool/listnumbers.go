package spool

import (
	"cmp"
	"slices"

	"github.com/remora-mq/remora/message"
)

// Numbers are some of those that were given under an origin. A settled message is
// found by its number as long as its receipt is kept, if a version wrote it that
// keeps numbers in receipts, and not if the message was imported.
type Numbers struct {
	Origin message.SpoolID
	Ranges []NumberRange // ascending
}

// NumberRange is the numbers from First to Last.
type NumberRange struct{ First, Last uint64 }

// have reports whether a message is asked for; of nil all are.
func (n *Numbers) have(id message.ID, number uint64) bool {
	if n == nil {
		return true
	}
	if number == 0 || id.Spool() != n.Origin {
		return false
	}
	_, found := slices.BinarySearchFunc(n.Ranges, number, func(r NumberRange, number uint64) int {
		if r.First <= number && number <= r.Last {
			return 0
		}
		return cmp.Compare(r.First, number)
	})
	return found
}

// fitsNumber also finds what was imported, by the number that it had elsewhere.
func (l *lister) fitsNumber(m message.Message) bool {
	if l.q.Numbers == nil {
		return true
	}
	l.s.withNumber(&m)
	return l.q.Numbers.have(m.ID, m.TopicSeq)
}
