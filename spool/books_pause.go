package spool

import (
	"bytes"
	"maps"
	"slices"
)

// pause takes in that a topic is paused. What is wrong with the entry was doubted when
// it was loaded.
func (b *books) pause(k, v []byte) error {
	p, err := decodePause(v)
	if isNewer(err) {
		return err
	}
	a := b.accounts[tail32(k, len(pausePrefix))]
	if err == nil {
		a = b.accountOf(p.id, p.topic) // it may be all that is left of the topic
	} else {
		p.since = b.now()
	}
	if a != nil && !a.paused() {
		a.pausedAt = p.since
	}
	if a == nil || a.id != tail32(k, len(pausePrefix)) {
		b.deletes = append(b.deletes, bytes.Clone(k))
	}
	return nil
}

// pauseAgain has pauses written anew, in both places.
func (b *books) pauseAgain() {
	for _, id := range slices.Sorted(maps.Keys(b.accounts)) {
		switch a := b.accounts[id]; {
		case a.paused():
			b.paused[a.lane] = true
			b.head.format = max(b.head.format, formatPause)
			b.sets = append(b.sets, pair{pauseKey(a.id), a.encodePause()})
			a.was = "" // its entry is to be written
		case a.rebuilt && b.head.format >= formatPause:
			b.notef("topic %q: if an operator had paused it, that is not known any more, and it is forwarded", a.topic)
		}
	}
}
