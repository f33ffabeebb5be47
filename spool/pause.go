package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// A topic that an operator has paused takes messages as before, and nothing of it is
// leased until it is resumed. That is an entry of its own, sz, and stands in the
// topic's own entry as well: either of them is enough, so that damage to one of them
// resumes nothing.

// PauseTopic keeps all of a topic from being leased, until ResumeTopic, and returns
// since when. When it returns nil that is on stable storage, and no call of Lease or
// Current has returned anything of the topic since; a crash before leaves it paused or
// not. What is leased ends as it ends. Of a topic that is paused it returns since when
// it is.
//
// Errors: ErrNotFound of a topic of which nothing was ever accepted; those of a
// commit. ErrUnknown, also where ctx ends: it may be paused or not.
func (s *Spool) PauseTopic(ctx context.Context, topic string) (since time.Time, err error) {
	op := &pauseTopic{lane: s.laneOf(topic), pause: true}
	if op.lane == nil {
		return since, ErrNotFound
	}
	if err := s.commit(ctx, op); err != nil {
		return since, fmt.Errorf("pause topic %s: %w", topic, err)
	}
	return op.since, nil
}

// ResumeTopic takes back what PauseTopic did: what waits is leased at once, at its
// place. When it returns nil that is on stable storage; a crash before leaves the topic
// paused or not. Its errors are those of PauseTopic.
func (s *Spool) ResumeTopic(ctx context.Context, topic string) error {
	op := &pauseTopic{lane: s.laneOf(topic)}
	if op.lane == nil {
		return ErrNotFound
	}
	if err := s.commit(ctx, op); err != nil {
		return fmt.Errorf("resume topic %s: %w", topic, err)
	}
	return nil
}

// Paused returns the topics that are paused, and since when.
func (s *Spool) Paused() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]time.Time, len(s.paused))
	for l := range s.paused {
		all[l.topic] = l.pausedAt
	}
	return all
}

// AnyPaused reports whether a topic is paused.
func (s *Spool) AnyPaused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.paused) > 0
}

// PausedSince returns since when a topic is paused; zero: it is not.
func (s *Spool) PausedSince(topic string) (since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[topic]; l != nil {
		since = l.pausedAt
	}
	return since
}

// waitsPaused reports whether a message would be forwarded if its topic were not paused.
func (s *Spool) waitsPaused(r *message.Receipt) bool {
	if r.State != message.StatePending && r.State != message.StateRetrying {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[r.Topic]
	return l != nil && l.paused()
}

// paused reports whether nothing of l may be leased. s.mu is held.
func (l *lane) paused() bool { return !l.pausedAt.IsZero() }

// pauseTopic pauses a topic, or resumes it. It is committed also where that changes
// nothing: what it is a repeat of may not be synced yet.
type pauseTopic struct {
	lane  *lane
	pause bool
	since time.Time // it is paused
}

func (op *pauseTopic) size() int { return fixedSize + op.lane.pauseSize() }

// pauseSize bounds the entry of a pause.
func (l *lane) pauseSize() int { return deleteSize + valueOverhead + 32 + len(l.topic) }

func (op *pauseTopic) apply(c *commit) {
	l := op.lane
	if op.pause != l.paused() {
		l.pausedAt = time.Time{}
		delete(c.s.paused, l)
		if op.pause {
			l.pausedAt = c.now
			c.s.paused[l] = true
			c.needs(formatPause)
		}
		c.pauses[l] = true
		c.touch(l)
		c.s.putBack(l)
	}
	op.since = l.pausedAt
}

func (op *pauseTopic) synced(s *Spool) {
	op.lane.ready.raise()
	s.left.raise() // nothing else of it is waited for
}

// writePauses writes the entries of the topics that were paused, or resumed.
func (c *commit) writePauses() {
	for l := range c.pauses {
		if l.paused() {
			c.set(pauseKey(l.id), l.encodePause())
		} else {
			c.delete(pauseKey(l.id))
		}
	}
}

// encodePause says of which topic it is: what its key says may be damaged.
func (l *lane) encodePause() []byte {
	return seal(appendText(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(l.id)), l.pausedMillis()), l.topic))
}

// pausedMillis is how entries tell since when l is paused; 0: it is not.
func (l *lane) pausedMillis() uint64 {
	if !l.paused() {
		return 0
	}
	return uint64(max(l.pausedAt.UnixMilli(), 1))
}

// pausedSince reads that.
func pausedSince(ms uint64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// topicPause is what the entry of a pause says.
type topicPause struct {
	id    uint32
	since time.Time
	topic string
}

func decodePause(v []byte) (topicPause, error) {
	b, err := unseal(v)
	if err != nil {
		return topicPause{}, fmt.Errorf("read pause: %w", err)
	}
	f := fields{b: b}
	p := topicPause{id: uint32(f.uint()), since: pausedSince(f.uint()), topic: f.text()}
	return p, f.err("read pause")
}

// loadPauses reads the entries of pauses, after those of topics. One that is damaged
// is a pause; one that is missing, or that the topic does not know of, is doubted, and
// has the topic paused.
func (s *Spool) loadPauses() error {
	found := map[*lane]bool{}
	err := s.scanAll(pausePrefix, func(k, v []byte) error {
		l, since, err := s.pauseIn(k, v)
		if l == nil {
			return err
		}
		if found[l] = true; !l.paused() {
			l.pausedAt, err = since, errPauseAlone
		}
		if !bytes.Equal(k, pauseKey(l.id)) {
			err = errDamaged
		}
		return err
	})
	for _, l := range s.byID {
		if l.paused() {
			s.paused[l] = true
			s.head.format = max(s.head.format, formatPause)
			if !found[l] {
				s.doubt(pauseKey(l.id), nil, errPauseGone)
			}
		}
	}
	return err
}

var (
	errPauseGone  = fmt.Errorf("it is gone, and its topic is paused: %w", errDamaged)
	errPauseAlone = fmt.Errorf("its topic does not know of it, and is paused: %w", errDamaged)
)

// pauseIn finds the topic of an entry; nil, and an error: it is not known.
func (s *Spool) pauseIn(k, v []byte) (l *lane, since time.Time, err error) {
	p, err := decodePause(v)
	if err != nil {
		if isNewer(err) {
			return nil, since, err
		}
		return s.byID[tail32(k, len(pausePrefix))], s.now(), err
	}
	if l = s.lanes[p.topic]; l == nil {
		return nil, since, errNoTopic
	}
	return l, p.since, nil
}

// putBack takes out of the window of a lane that is paused what can be read again, from
// the last on that is known in memory only: others have the room. While something is
// read it waits for that. s.mu is held.
func (s *Spool) putBack(l *lane) {
	w := &l.window
	if !l.paused() || w.loading || w.returning {
		return
	}
	kept := l.lastKept()
	var first *entry
	for e := w.head; e != nil && first == nil; e = e.next {
		if e.msg.Seq > kept && !e.redriven {
			first = e
		}
	}
	if w.atTail, w.counted, w.begun = false, false, false; first == nil {
		return
	}
	w.loadedTo = first.msg.Seq - 1
	for e := first; e != nil; {
		next := e.next
		if !e.redriven {
			s.takeOut(e)
		}
		e = next
	}
	s.aside -= w.aside.dropBehind(w.loadedTo)
	l.forgetBlocks(w.loadedTo)
}

// lastKept is the last message in the window of which something is known in memory
// only; 0: there is none. Redriven ones, which are in no block, do not count.
func (l *lane) lastKept() (seq uint64) {
	l.window.each(func(e *entry) {
		if !e.redriven && (!e.queued || !e.none()) {
			seq = max(seq, e.msg.Seq)
		}
	})
	return seq
}

// forgetBlocks forgets the blocks that begin behind a sequence: they are read again.
func (l *lane) forgetBlocks(seq uint64) {
	n := len(l.blocks)
	for n > 0 && l.blocks[n-1].firstSeq > seq {
		if n--; l.blocks[n].live == 0 {
			l.deleted--
		}
		l.blocks[n] = nil
	}
	l.blocks = l.blocks[:n]
}

// dropBehind forgets all sequences behind one, and returns how many.
func (k heldKeys) dropBehind(seq uint64) (dropped int) {
	for key, seqs := range k {
		n := len(seqs)
		for n > 0 && seqs[n-1] > seq {
			n--
		}
		if dropped += len(seqs) - n; n == 0 {
			delete(k, key)
		} else {
			k[key] = seqs[:n]
		}
	}
	return dropped
}

// inFlight counts what an attempt may be under way for. s.mu is held.
func (l *lane) inFlight() int { return len(l.window.leased) + len(l.copies.window.leased) }
