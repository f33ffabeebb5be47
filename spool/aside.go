package spool

import (
	"fmt"
	"slices"

	"github.com/remora-mq/remora/message"
)

// A window that is full of messages which wait for an earlier one of their
// ordering key would stop its topic: with a broker that is gone, or a dead letter
// that blocks, that is for long. So they are put aside: they are on disk, and what
// stays in memory is their sequences. They are brought in again in order, when
// what they wait for has left the window.
//
// A key is in freed, or an earlier message of it than the first put aside is in
// the window or kept back; when that ends, it is freed.

// maxAside bounds the messages of all topics that are put aside, 8 bytes each.
// More wait in the windows.
const maxAside = 1 << 20

// putAside puts aside what waits in l's window for a retry of its ordering key, or
// for a message that is kept back, and reports whether there was any. What is
// known in memory only, of attempts, keeps a message there. s.mu is held.
func (s *Spool) putAside(l *lane) bool {
	w := &l.window
	if w.atTail || w.loading || w.returning {
		return false
	}
	attempted := map[string]bool{}
	for _, e := range w.leased {
		attempted[e.msg.OrderingKey] = true
	}
	out := map[string][]uint64{}
	for e := w.head; e != nil && s.aside < maxAside; {
		next, k := e.next, e.msg.OrderingKey
		if e.fresh() && !attempted[k] && (w.busy[k] > 0 || w.onHold.before(e.msg)) {
			s.takeOut(e)
			s.aside++
			out[k] = append(out[k], e.msg.Seq)
		}
		e = next
	}
	for k, seqs := range out {
		w.aside[k] = append(seqs, w.aside[k]...)
		slices.Sort(w.aside[k]) // one that was released from hold may be behind others
	}
	return len(out) > 0
}

// fresh reports whether all that is known of e is on disk.
func (e *entry) fresh() bool {
	return e.msg.OrderingKey != "" && !e.redriven && e.none()
}

// joinsAside puts m aside, which comes from disk or is new, where others of its
// key are that come before it. s.mu is held.
func (s *Spool) joinsAside(l *lane, m *message.Message) bool {
	k := m.OrderingKey
	if len(l.window.aside[k]) == 0 || s.aside >= maxAside {
		return false
	}
	l.window.aside.add(k, m.Seq)
	s.aside++
	return true
}

// free is called when a message of key, or its hold, is gone.
func (w *window) free(key string) {
	if len(w.aside[key]) > 0 {
		w.freed[key] = true
	}
}

// startReturn reports whether something that was put aside waits for nothing any
// more, so many bytes of it may be brought in, and nobody else does that. s.mu is held.
func (s *Spool) startReturn(l *lane, may int64) bool {
	w := &l.window
	if may == 0 || w.returning {
		return false
	}
	for k := range w.freed {
		if !w.keepsAside(k) {
			w.returning = true
			s.grant(l, &w.back, may)
			return true
		}
		delete(w.freed, k)
	}
	return false
}

func (w *window) keepsAside(key string) bool {
	seqs := w.aside[key]
	return len(seqs) == 0 || w.busy[key] > 0 || len(w.onHold[key]) > 0 && w.onHold[key][0] < seqs[0]
}

// returning is what one read of messages that were put aside brought: those of
// keys, up to a sequence.
type returning struct {
	keys   map[string]bool
	blocks []diskBlock
	upTo   uint64
	err    error
}

// returnAside brings in what was put aside of the keys that are free: about
// refillBytes of blocks, from the first that has any.
func (s *Spool) returnAside(l *lane) error {
	defer s.oneRead()()
	return s.enterAside(l, s.readAside(l))
}

func (s *Spool) readAside(l *lane) returning {
	s.mu.Lock()
	w := &l.window
	r := returning{keys: map[string]bool{}}
	first, last, most := ^uint64(0), l.lastSeq, w.back
	for k := range w.freed {
		if !w.keepsAside(k) {
			r.keys[k] = true
			first = min(first, w.aside[k][0])
		}
	}
	clear(w.freed)
	from := first
	if b := l.blockOf(first); b != nil {
		from = b.firstSeq
	}
	s.mu.Unlock()
	if len(r.keys) == 0 {
		return r
	}
	var end bool
	r.blocks, end, r.err = s.readBlocks(l, from, most)
	r.upTo = first // at least: what cannot be read any more is not looked for again
	if n := len(r.blocks); n > 0 {
		r.upTo = max(r.upTo, r.blocks[n-1].firstSeq+uint64(r.blocks[n-1].count)-1)
	}
	if end {
		r.upTo = max(r.upTo, last)
	}
	return r
}

func (s *Spool) enterAside(l *lane, r returning) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.feed()
	w := &l.window
	w.returning = false
	left := s.granted(l, &w.back)
	l.ready.raise()
	s.left.raise()
	if r.err != nil {
		for k := range r.keys {
			w.free(k)
		}
		return fmt.Errorf("read topic %s: %w", l.topic, r.err)
	}
	upTo := s.enterAllAside(l, r, left)
	for k := range r.keys {
		s.aside -= w.aside.dropUpTo(k, upTo)
		w.free(k)
	}
	return nil
}

// enterAllAside brings in what was read, up to a sequence.
func (s *Spool) enterAllAside(l *lane, r returning, left int64) (upTo uint64) {
	for _, b := range r.blocks {
		for _, rec := range b.records {
			if !r.keys[rec.OrderingKey] || rec.Seq > r.upTo {
				continue
			}
			if left <= 0 {
				return rec.Seq - 1
			}
			left -= s.enterOneAside(l, rec, b.payloads[rec.Seq])
		}
	}
	return r.upTo
}

func (s *Spool) enterOneAside(l *lane, r *message.Record, p *payload) (bytes int64) {
	_, is := slices.BinarySearch(l.window.aside[r.OrderingKey], r.Seq)
	if !is || s.entries[r.Seq] != nil || s.passes(&r.Message) || r.PayloadSize > 0 && p == nil {
		return 0
	}
	e := newEntry(l, &r.Message, p)
	s.bringIn(e)
	return e.cost()
}

// dropUpTo forgets the sequences of key up to one, and returns how many.
func (k heldKeys) dropUpTo(key string, seq uint64) int {
	n, found := slices.BinarySearch(k[key], seq)
	if found {
		n++
	}
	if k[key] = k[key][n:]; len(k[key]) == 0 {
		delete(k, key)
	}
	return n
}
