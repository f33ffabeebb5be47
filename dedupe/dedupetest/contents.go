package dedupetest

import (
	"context"

	"github.com/remora-mq/remora/dedupe"
)

// many is more contents than a store may keep together for a key.
const many = 12

func content(n int) dedupe.Fingerprint { return dedupe.Fingerprint{0xc0, byte(n)} }

// doneMany handles many contents of the key, one after the other: an order and
// what happens to it.
func (s *subject) doneMany() {
	s.Helper()
	for n := range many {
		s.done(s.want(content(n), dedupe.Begun, 1, n > 0))
	}
}

// repeatMany: each of them is known, and what is new is not.
func (s *subject) repeatMany() {
	s.Helper()
	for n := range many {
		s.want(content(n), dedupe.Repeat, 0, false)
	}
	m := s.want(other, dedupe.Begun, 1, true)
	for n := range many { // also while the key is held
		s.want(content(n), dedupe.Repeat, 0, false)
	}
	s.no(s.Store.Forget(context.Background(), key, m))
}

func manyContentsAreKnown(s *subject) {
	s.doneMany()
	s.repeatMany()
	if s.Reopen != nil {
		s.Store = s.Reopen()
		s.repeatMany()
	}
}

// manyContentsAreOfOneKey: another key with the same contents knows none.
func manyContentsAreOfOneKey(s *subject) {
	s.doneMany()
	for _, k := range []dedupe.Key{{Scope: key.Scope, Key: "order-2"}, {Scope: "cluster/orders/other", Key: key.Key}} {
		for n := range many {
			m := s.beginKey(k, content(n))
			if m.Verdict != dedupe.Begun || m.Attempt != 1 || m.Conflict != (n > 0) {
				s.Fatalf("content %d of %q: %+v", n, k, m)
			}
			s.no(s.Store.Done(context.Background(), k, m))
		}
	}
}

// manyContentsDoneTwice: the answer may have been lost.
func manyContentsDoneTwice(s *subject) {
	for n := range many {
		m := s.begin(content(n))
		s.done(m)
		s.done(m)
	}
	s.repeatMany()
}

// manyContentsKeepTheWindow from the done of each on, and not for ever.
func manyContentsKeepTheWindow(s *subject) {
	s.doneMany()
	s.Advance(s.Window * 9 / 10)
	s.done(s.begin(other))
	for n := range many {
		s.want(content(n), dedupe.Repeat, 0, false)
	}
	for range 5 {
		s.Advance(s.Window / 2)
		s.beginKey(dedupe.Key{Scope: key.Scope, Key: "traffic"}, one)
	}
	for n := range many {
		s.release(s.want(content(n), dedupe.Begun, 1, false), true)
	}
}
