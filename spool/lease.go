package spool

import (
	"container/heap"
	"context"
	"time"

	"github.com/remora-mq/remora/message"
)

// Lease is the exclusive right to forward one message, until Expires, which Current
// puts off, or until it is settled or given back. The message must not be changed.
type Lease struct {
	*message.Message
	Attempt int // from 1, since the process started
	Expires time.Time

	// Queue is what its ordering key is bound to; empty: it has no key, or no
	// queues were told to Bind.
	Queue string

	// Alone: attempts of it have ended unknown, so that it is leased without others.
	Alone bool

	entry  *entry
	number uint64
}

// LeaseOptions bound one call of Lease; zero means no bound. At least one
// message is leased, whatever its size.
type LeaseOptions struct {
	MaxMessages int
	MaxBytes    int

	// Weight is how often the topic is read on for one time of another's, where those with
	// much behind what is in memory take turns; 0: 1. What a topic was given last counts.
	Weight int

	// Later leaves the payloads that are stored apart to a call of Payloads: for whoever
	// waits with the leases before an attempt.
	Later bool
}

// Size is what the message counts for, whether its payload is here or not.
func (l *Lease) Size() int { return l.entry.size }

// NextTopic returns a topic that may have messages and that no call has
// returned before; it waits until there is one. At open every topic with held
// messages is new.
func (s *Spool) NextTopic(ctx context.Context) (string, error) {
	for {
		s.mu.Lock()
		if len(s.fresh) > 0 {
			topic := s.fresh[0]
			s.fresh = s.fresh[1:]
			if len(s.fresh) > 0 {
				s.topics.raise()
			}
			s.mu.Unlock()
			return topic, nil
		}
		s.mu.Unlock()
		if err := s.await(ctx, s.topics, nil); err != nil {
			return "", err
		}
	}
}

// Lease returns the next messages of a topic, in accept order: of one ordering
// key, or of those that are bound to one queue, or none with any key. A message is
// passed over while an earlier one of its ordering key is leased or waits for its
// retry, or any of its queue is leased. Lease waits until there
// is at least one, and while the topic is paused; it returns the context's error, ErrClosed, or ErrReadOnly.
//
// No attempt is made for a message before it is on disk that one may be
// (lane.attempted): else a cancel after a crash could be granted wrongly.
func (s *Spool) Lease(ctx context.Context, topic string, opts LeaseOptions) ([]*Lease, error) {
	s.mu.Lock()
	l := s.lanes[topic]
	s.mu.Unlock()
	if l == nil {
		return nil, ErrNotFound
	}
	leases, err := s.leaseFrom(ctx, l, opts)
	if err != nil { // we may have taken another caller's wake-up
		s.givesUp(l)
	}
	return leases, err
}

func (s *Spool) leaseFrom(ctx context.Context, l *lane, opts LeaseOptions) ([]*Lease, error) {
	for {
		err := s.over(ctx)
		if err != nil {
			return nil, err
		}
		step := s.nextStep(l, opts)
		switch {
		case len(step.leases) > 0:
			if leases := s.leasedWith(ctx, step.leases, opts); len(leases) > 0 {
				return leases, nil
			}
		case step.load:
			err = s.loadBlocks(l)
		case step.copies:
			err = s.enterCopies(l)
		case step.again:
			err = s.enterAgain(l)
		case step.aside:
			err = s.returnAside(l)
		default:
			err = s.await(ctx, l.ready, step.wake)
		}
		if err != nil {
			return nil, err
		}
	}
}

// step is what Lease has to do next.
type step struct {
	leases []*Lease
	load   bool
	copies bool       // read the next block of copies
	again  bool       // read redriven messages
	aside  bool       // read what was put aside
	wake   *time.Time // nothing to do before, unless the lane is raised
}

func (s *Spool) nextStep(l *lane, opts LeaseOptions) (st step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.fed(l)
	w := &l.window
	l.weight, l.forTurn = max(1, opts.Weight), false
	now := s.opts.Now()
	w.wakeDue(now)
	l.copies.window.wakeDue(now)
	if l.paused() {
		s.putBack(l)
		s.left.raise() // a lease may have lapsed
		st.wake = earlier(w.nextDue(), l.copies.window.nextDue())
		return st
	}
	if l.startCopies() {
		return step{copies: true}
	}
	if picked := l.pickCopies(opts); len(picked) > 0 {
		return s.leased(l, picked, now)
	}
	if st, some := s.stepToRead(l, opts.MaxMessages); some {
		return st
	}
	picked, blocked := w.pick(opts, l.attemptedSynced, s.expiredBy())
	if len(picked) == 0 && !blocked {
		if st, some := s.readOn(l); some {
			return st
		}
	}
	if blocked {
		s.startRaise(l)
	}
	if blocked || len(picked) > 0 {
		s.goAhead(l, opts.MaxMessages)
	}
	if len(picked) > 0 {
		return s.leased(l, picked, now)
	}
	st.wake = earlier(earlier(w.nextDue(), l.copies.window.nextDue()), s.turnEnds(l, now))
	return st
}

// stepToRead is what to read before anything is leased: what comes before what is
// in the window, and what comes behind it while less than most is ready. The latter
// waits for more than a little room: where nothing can be leased, readOn does not.
func (s *Spool) stepToRead(l *lane, most int) (st step, some bool) {
	room := s.room()
	if st, some = s.stepBack(l, max(room, s.part(l))); some {
		return st, true
	}
	if l.window.queued < most && !s.yields(l) && s.startLoading(l, s.ofTurn(s.worthIt(l, room))) {
		return step{load: true}, true
	}
	return step{}, false
}

// stepBack is what to read of what comes before what is in the window.
func (s *Spool) stepBack(l *lane, may int64) (st step, some bool) {
	switch {
	case s.startAgain(l, may):
		return step{again: true}, true
	case s.startReturn(l, may):
		return step{aside: true}, true
	}
	return step{}, false
}

// readOn is what to read where nothing in the window can be leased. Where nothing may
// be read the lane is woken when there is room.
func (s *Spool) readOn(l *lane) (st step, some bool) {
	room := s.roomFor(l)
	if (room == 0 || s.waitsForTurn(l, room)) && s.putAside(l) {
		room = s.roomFor(l)
	}
	may := max(s.ofTurn(room), s.part(l), l.beyond())
	if st, some = s.stepBack(l, may); some {
		return st, true
	}
	l.forTurn = s.waitsForTurn(l, room)
	if !l.forTurn && s.startLoading(l, may) {
		return step{load: true}, true
	}
	if l.forTurn || may == 0 {
		s.starve(l)
	}
	return step{}, false
}

// leased leases what was picked.
func (s *Spool) leased(l *lane, picked []*entry, now time.Time) (st step) {
	l.waits = time.Time{}
	st.leases = make([]*Lease, 0, len(picked))
	for _, e := range picked {
		st.leases = append(st.leases, s.lease(e, now))
	}
	if s.stopWaiting(l) || l.window.queued+l.copies.window.queued > 0 {
		l.ready.raise() // for another caller
	}
	return st
}

// earlier returns the first of two times, of which each may be nil: never.
func earlier(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

// startLoading reports whether something on disk waits behind the window, so many
// bytes of it may be brought in, and nobody else does that. s.mu is held.
func (s *Spool) startLoading(l *lane, may int64) bool {
	w := &l.window
	if may == 0 || w.atTail || w.loading {
		return false
	}
	if !w.begun {
		may = min(may, firstGrant, max(s.room(), s.part(l), firstOwn))
	}
	w.loading, w.begun, l.putOff, l.waits = true, true, 0, time.Time{}
	if s.fedNow == l {
		l.turns += 1 / float64(l.weight)
	}
	s.stopWaiting(l)
	s.grant(l, &w.load, may)
	return true
}

func (s *Spool) lease(e *entry, now time.Time) *Lease {
	s.leases++
	e.state, e.lease, e.due = message.StateInFlight, s.leases, now.Add(s.opts.LeaseFor)
	w := e.in()
	w.dequeue(e)
	if len(w.leased) == 0 || e.due.Before(w.lapse) {
		w.lapse = e.due
	}
	w.give(e)
	w.hold(e)
	return &Lease{Message: e.msg, Attempt: e.attempts + 1, Expires: e.due, Queue: e.queue, Alone: e.alone(), entry: e, number: e.lease}
}

// wakeDue makes leasable what waited long enough, and what was leased too long.
func (w *window) wakeDue(now time.Time) {
	for len(w.waiting) > 0 && !w.waiting[0].due.After(now) {
		e := heap.Pop(&w.waiting).(*entry) //nolint:errcheck // only entries are pushed
		w.release(e)
		e.state = message.StatePending
		w.enqueue(e)
	}
	if len(w.leased) == 0 || now.Before(w.lapse) { // there may be thousands
		return
	}
	w.lapse = time.Time{}
	for _, e := range w.leased {
		switch {
		case !e.due.After(now):
			e.lapse(now)
			w.unlease(e)
		case w.lapse.IsZero() || e.due.Before(w.lapse):
			w.lapse = e.due
		}
	}
}

// lapse ends a lease of which nobody said what came of it: its attempt may have
// reached the broker, or may do so yet.
func (e *entry) lapse(now time.Time) {
	e.failed(now.Truncate(time.Millisecond), message.OutcomeUnknown, "the lease lapsed")
}

// unlease makes a leased entry pending again.
func (w *window) unlease(e *entry) {
	w.takeBack(e)
	w.release(e)
	e.state = message.StatePending
	w.enqueue(e)
}

// wait makes a leased entry wait until it is due. Its key stays held.
func (w *window) wait(e *entry) {
	w.takeBack(e)
	heap.Push(&w.waiting, e)
}

// nextDue is when wakeDue may have something to do, nil: not before a signal.
func (w *window) nextDue() *time.Time {
	at, ok := w.waiting.next()
	if len(w.leased) > 0 && (!ok || w.lapse.Before(at)) {
		at, ok = w.lapse, true
	}
	if !ok {
		return nil
	}
	return &at
}

// over says why nothing may be leased any more: a fenced spool forwards nothing,
// also not what it has in memory.
func (s *Spool) over(ctx context.Context) error {
	select {
	case <-s.db.Failed():
		return ErrReadOnly
	case <-s.closing:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

// await waits for sig, the time at, the context, or the end of the spool.
func (s *Spool) await(ctx context.Context, sig signal, at *time.Time) error {
	var due <-chan time.Time
	if at != nil {
		t := time.NewTimer(max(at.Sub(s.opts.Now()), time.Millisecond))
		defer t.Stop()
		due = t.C
	}
	return s.awaitUntil(ctx, sig, due)
}

// awaitUntil is await with a channel for the time; nil: none.
func (s *Spool) awaitUntil(ctx context.Context, sig signal, due <-chan time.Time) error {
	select {
	case <-sig:
		return nil
	case <-due:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return ErrClosed
	case <-s.db.Failed():
		return ErrReadOnly
	}
}

func (s *Spool) leasedWith(ctx context.Context, leases []*Lease, opts LeaseOptions) []*Lease {
	if opts.Later {
		return leases
	}
	return s.Payloads(ctx, leases)
}

// Payloads reads what was left to it by Later: payloads that are stored apart, and the
// numbers of imported messages. It returns the leases of which all is known, and gives
// the others back; one that cannot be read delays its own key alone, for a minute.
func (s *Spool) Payloads(ctx context.Context, leases []*Lease) []*Lease {
	ok := make([]*Lease, 0, len(leases))
	for i, l := range leases {
		err := s.withPayload(ctx, l)
		switch {
		case err == nil:
			ok = append(ok, l)
			continue
		case ctx.Err() != nil:
			s.Release(leases[i:])
			return ok
		case l.entry.copy && s.db.Err() == nil:
			s.giveUpCopy(l, err)
			continue
		}
		s.opts.Logger.Error("payload cannot be read; the message is kept and tried again in a minute", "id", l.ID, "error", err)
		s.Postpone(l, s.opts.Now().Add(time.Minute), err.Error())
		if l.OrderingKey != "" { // all of them share it
			s.Release(leases[i+1:])
			return ok
		}
	}
	return ok
}

func (s *Spool) withPayload(ctx context.Context, l *Lease) error {
	if l.entry.payload != nil {
		m, err := s.readPayload(ctx, l.entry.payload)
		if err != nil {
			return err
		}
		l.Message = m
	}
	return s.withItsNumber(l)
}
