package sql

import (
	"slices"

	"github.com/remora-mq/remora/dedupe"
)

// record is the mark of one key. Times are ms of the server's clock.
type record struct {
	held     bool
	claim    int64
	token    int64
	ends     int64
	attempts int
	effect   dedupe.Fingerprint
	done     []byte // fingerprints, latest last
	expires  int64

	apart []byte // fingerprints that are to have rows of their own
}

// maxDone bounds the fingerprints in one row; more than one only appear when a key
// is used for different contents. What it has no room for gets a row of its own
// (dedupe.Key.With).
const maxDone = 4

func (r *record) isDone(f dedupe.Fingerprint) bool {
	for one := range slices.Chunk(r.done, len(f)) {
		if slices.Equal(one, f[:]) {
			return true
		}
	}
	return false
}

// full reports whether contents of the key may have rows of their own.
func (r *record) full() bool { return len(r.done) >= maxDone*len(r.effect) }

// begin decides on a Begin and changes r if it begins, or says it again to the
// call that has begun. now is in µs.
func (r *record) begin(f dedupe.Fingerprint, claim, now, lease, window int64) (v dedupe.Verdict, conflict bool) {
	ms := now / 1000
	if ms >= r.expires {
		*r = record{token: r.token}
	}
	conflict = len(r.done) > 0 && !r.isDone(f)
	switch {
	case r.isDone(f):
		return dedupe.Repeat, false
	case r.held && ms < r.ends && r.claim == claim:
		return dedupe.Begun, conflict
	case r.held && ms < r.ends:
		return dedupe.InProgress, conflict
	}
	if r.effect != f {
		r.effect, r.attempts = f, 0
	}
	r.attempts++
	r.held, r.claim, r.token = true, claim, max(r.token+1, now)
	r.ends, r.expires = ms+lease, ms+window
	return dedupe.Begun, conflict
}

func (r *record) finish() {
	if r.isDone(r.effect) {
		return
	}
	r.done = append(slices.Clip(r.done), r.effect[:]...)
	n := max(0, len(r.done)-maxDone*len(r.effect))
	r.apart, r.done = r.done[:n], r.done[n:]
	r.held, r.attempts = false, 0
}

// free ends the hold. A second call, after an answer that got lost, changes
// nothing.
func (r *record) free(counts bool) {
	if r.held && !counts && r.attempts > 0 {
		r.attempts--
	}
	r.held = false
}

func (r *record) forget() { r.held, r.attempts = false, 0 }
