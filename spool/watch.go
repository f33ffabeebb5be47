package spool

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// Wait returns the receipt of a message as soon as it is settled or a dead
// letter; when ctx ends before, the receipt as it stands then, and no error.
// ErrUnknown: the disk has told nothing.
// A confirmation counts from the broker's answer on, before it is recorded.
func (s *Spool) Wait(ctx context.Context, id message.ID) (message.Receipt, error) {
	patience, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastLook, giveUp) })()
	look := func() (message.Receipt, error) {
		return patiently(patience, s, func() (message.Receipt, error) { return s.Receipt(context.WithoutCancel(ctx), id) })
	}
	for {
		r, again, err := s.waitOnce(ctx, id, look)
		if !again {
			return r, err
		}
	}
}

// waitOnce waits until something happens to the message; again: it was delayed,
// and is pending now.
func (s *Spool) waitOnce(ctx context.Context, id message.ID, look func() (message.Receipt, error)) (r message.Receipt, again bool, err error) {
	seq := s.seqOf(id)
	ended := s.watch(seq)
	defer s.unwatch(seq, ended)
	if s.seqOf(id) != seq { // it was moved before anybody watched
		return r, true, nil
	}
	r, err = look()
	if err != nil || r.State.Settled() || r.State == message.StateDead {
		return r, false, err
	}
	select {
	case <-ended:
		again = s.seqOf(id) != seq
	case <-ctx.Done():
	case <-s.closing:
	case <-s.db.Failed():
	}
	now, err := look()
	if errors.Is(err, ErrUnknown) {
		return r, false, nil
	}
	return now, again && !now.State.Settled() && now.State != message.StateDead, err
}

// lastLook is how long a Wait whose time is over may read the receipt. When the
// disk does not answer by then, the one before it stands.
const lastLook = 200 * time.Millisecond

func (s *Spool) watch(seq uint64) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := make(chan struct{})
	s.watchers[seq] = append(s.watchers[seq], ended)
	return ended
}

func (s *Spool) unwatch(seq uint64, ended chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(s.watchers[seq], func(c chan struct{}) bool { return c == ended })
	if s.watchers[seq] = rest; len(rest) == 0 {
		delete(s.watchers, seq)
	}
}

// notify wakes who waits for the end of seq. s.mu is held.
func (s *Spool) notify(seq uint64) {
	for _, ended := range s.watchers[seq] {
		close(ended)
	}
	delete(s.watchers, seq)
}

// Drained waits until nothing waits for the forwarder or is in flight: all is
// confirmed, a dead letter, on hold, kept back by what is on hold, or of a topic that is
// paused. It is for
// one caller at a time.
func (s *Spool) Drained(ctx context.Context) error {
	for {
		s.mu.Lock()
		waiting := s.forwardable()
		s.mu.Unlock()
		if waiting == 0 {
			return nil
		}
		if err := s.await(ctx, s.left, nil); err != nil {
			return err
		}
	}
}

// forwardable counts what is held, not dead, not on hold, and not about to be
// recorded as settled, in lanes that are not stopped by a hold, and what is to be
// sent again; of topics that are paused, what is in flight. s.mu is held.
func (s *Spool) forwardable() (n int) {
	for _, l := range s.lanes {
		if !l.paused() && s.stopped(l) {
			n += l.copies.left
		} else {
			n += l.forwardable()
		}
	}
	return n
}

// lanesAtOnce bounds for how many lanes s.mu is held at once.
const lanesAtOnce = 128

// eachLane visits all lanes under s.mu, and lets others have that in between: so what it
// tells is not of one moment, but for each lane. s.mu is not held.
func (s *Spool) eachLane(visit func(*lane)) {
	s.mu.Lock()
	all := s.inTurn // what is added meanwhile is behind it
	s.mu.Unlock()
	for some := range slices.Chunk(all, lanesAtOnce) {
		s.mu.Lock()
		for _, l := range some {
			visit(l)
		}
		s.mu.Unlock()
	}
}

// KeptBack counts what is on hold and, where nothing else of a topic is left, what waits
// behind that, or behind dead letters; of a topic that is paused, all that is not in flight.
func (s *Spool) KeptBack() (n uint64) {
	s.eachLane(func(l *lane) { n += s.keptBack(l) })
	return n
}

// Kept is what is kept back of a topic.
type Kept struct {
	Messages uint64 // KeptBack
	Copies   uint64 // of confirmed ones that are to be sent again: where the topic is paused, those that are not in flight
}

// Left is the ledger, what is kept back of each topic that has some, and the transactions,
// all of one moment: what goes from one to the other in between would be in neither.
func (s *Spool) Left() (led Ledger, kept map[string]Kept, n TransactionCounts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept = map[string]Kept{}
	for topic, l := range s.lanes {
		if k := (Kept{s.keptBack(l), l.copiesKeptBack()}); k != (Kept{}) {
			kept[topic] = k
		}
	}
	return s.ledger(), kept, s.transactions.counts
}

// copiesKeptBack counts the copies that only a resume lets go: neither in flight, nor of a
// block whose end is about to be recorded. s.mu is held.
func (l *lane) copiesKeptBack() uint64 {
	if !l.paused() {
		return 0
	}
	x := &l.copies
	return uint64(max(x.left-x.ending-len(x.window.leased), 0))
}

// keptBack counts that of a lane. s.mu is held.
func (s *Spool) keptBack(l *lane) uint64 {
	if l.paused() {
		n := l.counts.waiting()
		return n - min(n, uint64(len(l.window.leased)+l.leaving))
	}
	if s.stopped(l) {
		return l.counts.waiting()
	}
	return uint64(l.onHold)
}

// stopped reports whether what is left of a lane, but for copies, is kept back. s.mu is
// held.
func (s *Spool) stopped(l *lane) bool {
	if len(l.window.onHold) == 0 { // as of most
		return false
	}
	room := !s.fullFor(l)
	return l.window.stopped(room) && !(room && len(l.again) > 0) && s.unblocking(l) < 0 && !l.againBusy
}

// stopped reports whether all that is left in the window waits behind messages
// that are on hold, and nothing else can be brought in.
func (w *window) stopped(room bool) bool {
	if len(w.onHold) == 0 || len(w.leased) > 0 || len(w.waiting) > 0 || w.loading || room && !w.atTail || w.returning || len(w.freed) > 0 {
		return false
	}
	for e := w.head; e != nil; e = e.next {
		if !w.onHold.before(e.msg) {
			return false
		}
	}
	return w.head != nil || len(w.aside) > 0
}

func (l *lane) forwardable() int {
	if l.paused() {
		return l.inFlight()
	}
	return int(l.counts.waiting()) - l.leaving - l.onHold + l.copies.left
}

// Waiting counts the messages of a topic that wait for the forwarder or are in
// flight; of one that is paused nothing waits.
func (s *Spool) Waiting(topic string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[topic]; l != nil {
		return l.forwardable()
	}
	return 0
}
