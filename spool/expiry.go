package spool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// ReasonExpired is why a message is a dead letter that was not confirmed within
// its TTL.
const ReasonExpired = "expired"

// keepTTLs makes dead letters of what has expired. It is one goroutine, from Open
// to Close; what is delayed does not wait for it.
func (s *Spool) keepTTLs() {
	s.repeat(s.ttl.sooner, s.expireDue, "messages that have expired are kept as they are; it is tried again")
}

// expireDue makes dead letters of all that has expired, and returns for how long
// nothing will. A dead letter has its record in an entry of its own, so that waits
// where the volume has no room to spare; nothing that has expired is sent meanwhile.
func (s *Spool) expireDue() (wait time.Duration, err error) {
	for {
		back, flying, held := s.overdueBack()
		if held {
			return sleep, nil // until the step is over
		}
		now := s.clock.now()
		next := s.nextDue(clockTTL)
		if len(back) == 0 && next > now {
			if wait = sleepFor(clockTTL, next, now); flying { // a lease may lapse
				wait = min(wait, lookAgain)
			}
			return wait, s.checkSchedule("messages with a TTL", s.ttlsLack)
		}
		if !s.roomToMove() {
			return lookAgain, nil
		}
		x := &expiry{s: s}
		for _, d := range back {
			if !x.take(d) {
				s.overdueAgain(d)
			}
		}
		err = s.eachDue(clockTTL, x.take)
		if err = errors.Join(err, x.commit()); err != nil {
			return lookAgain, fmt.Errorf("make dead letters of what has expired: %w", err)
		}
	}
}

// overdueBack returns what has expired while it was in flight, and is not any
// more; flying: some of it is; held: nothing expires now.
func (s *Spool) overdueBack() (back []due, flying, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clockHeld() {
		return nil, false, true
	}
	for seq, d := range s.ttl.overdue {
		switch e := s.entries[seq]; {
		case e != nil && e.state == message.StateInFlight:
			flying = true
		case len(back) < dueBatch:
			back = append(back, d)
			delete(s.ttl.overdue, seq)
		}
	}
	return back, flying, false
}

func (s *Spool) overdueAgain(d due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ttl.overdue[d.seq] = d
}

// ttlsLack compares counts: what has expired and is in flight, or is about to end,
// is not looked for any more. s.mu is held.
func (s *Spool) ttlsLack() bool {
	return s.due[clockTTL].next.at == never && s.ttl.held > uint64(len(s.ttl.overdue)+s.ttl.leaving)
}

// gaveBack wakes who looks after what has expired, when a lease has ended. s.mu is held.
func (s *Spool) gaveBack(e *entry) {
	if _, expired := s.ttl.overdue[e.msg.Seq]; expired {
		s.ttl.sooner.raise()
	}
}

// expiredBy is the time by which what expires is not sent any more; 0: nothing
// expires now. s.mu is held.
func (s *Spool) expiredBy() uint64 {
	if s.clockHeld() {
		return 0
	}
	return s.clock.now()
}

// lateKeys are the ordering keys of what has expired and is no dead letter yet, or is
// to be leased alone: what comes behind it waits for that.
type lateKeys map[string]bool

// passes reports whether e has expired, or waits for one that is passed.
func (k *lateKeys) passes(e *entry, expired uint64) bool {
	if e.expires == 0 || e.expires > expired {
		return len(*k) > 0 && (*k)[e.msg.OrderingKey]
	}
	k.pass(e)
	return true
}

func (k *lateKeys) pass(e *entry) {
	key := e.msg.OrderingKey
	if key == "" {
		return
	}
	if *k == nil {
		*k = lateKeys{}
	}
	(*k)[key] = true
}

// expiry gathers what becomes a dead letter in one commit, or few.
type expiry struct {
	s    *Spool
	op   endMessages
	size int

	block []message.Record // the last one that was read
}

// take ends a message that has expired, unless it ended otherwise; false: there is
// no room for more. One in flight is left alone until its outcome is known.
func (x *expiry) take(d due) bool {
	if x.size > x.s.sizes.op {
		return false
	}
	for {
		end, err := x.s.expireInMemory(d)
		if errors.Is(err, errMoved) {
			end, err = x.expireOnDisk(d)
		}
		switch {
		case errors.Is(err, errMoved):
			continue
		case errors.Is(err, errStale):
			x.s.post(&deletion{[][]byte{d.key()}})
		case err != nil:
			x.s.notice(fmt.Sprintf("sequence %d, which has expired: %v", d.seq, err))
		case end != nil:
			x.op.all = append(x.op.all, end)
			x.size += end.bytes() + bitmapBytes
		}
		return true
	}
}

// errStale: an entry of the index whose deletion is lost.
var errStale = errors.New("it does not expire then")

// expireInMemory takes the message out of its window. errMoved: it is in none. No
// ending and no error: it is in flight, or ends just now.
func (s *Spool) expireInMemory(d due) (*ending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[d.seq]
	switch {
	case s.settling[d.seq] != nil:
		return nil, nil //nolint:nilnil // see above
	case s.settled.has(d.seq) || s.apart(d.seq):
		return nil, errStale
	case e == nil:
		return nil, errMoved
	case e.expires != d.at:
		return nil, errStale
	case e.state == message.StateInFlight:
		s.ttl.overdue[d.seq] = d
		return nil, nil //nolint:nilnil // see above
	}
	end := s.expiredEnding(e)
	s.leave(e, end)
	s.block(e.lane, e.msg)
	return end, nil
}

// expireOnDisk ends a message that no window has, on hold or not. Naming it in
// settling keeps it from being loaded meanwhile.
func (x *expiry) expireOnDisk(d due) (*ending, error) {
	s := x.s
	e, err := x.entry(d.seq)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.entries[d.seq] != nil || s.settling[d.seq] != nil || s.settled.has(d.seq) || s.apart(d.seq):
		return nil, errMoved
	case errors.Is(err, kv.ErrNotFound):
		return nil, errStale
	case err != nil:
		return nil, err
	case e.expires != d.at:
		return nil, errStale
	}
	e.lane = s.lanes[e.msg.Topic]
	h := s.holds[d.seq]
	if h != nil {
		e.tried = h.tried
		s.dropHold(d.seq, h)
	}
	end := s.expiredEnding(e)
	end.wasOnHold = h != nil
	s.announceEnd(end)
	s.block(e.lane, e.msg)
	return end, nil
}

// expiredEnding makes a dead letter of e. s.mu is held.
func (s *Spool) expiredEnding(e *entry) *ending {
	e.expired = true
	return newDeath(e, ReasonExpired, s.now())
}

// entry reads a message that no window has.
func (x *expiry) entry(seq uint64) (*entry, error) {
	r, err := x.record(seq)
	if err != nil {
		return nil, err
	}
	e := &entry{msg: &r.Message, size: heldSize(*r), state: message.StatePending, expires: expiryOf(&r.Message)}
	if r.PayloadSize > 0 {
		e.payload, err = x.s.surePayload(*r)
	}
	return e, err
}

// record reads a block once for all of its messages that expire together.
func (x *expiry) record(seq uint64) (*message.Record, error) {
	if r := x.inBlock(seq); r != nil {
		return r, nil
	}
	l, first, err := x.s.findBlock(seq)
	if err = x.s.surely(err, kv.Scan{Prefix: indexPrefix, From: indexKey(seq), Reverse: true}); err != nil {
		return nil, err
	}
	v, err := x.s.db.Get(blockKey(l.id, first))
	if err = x.s.surely(err, kv.Scan{Prefix: blockKey(l.id, first)}); err != nil {
		return nil, fmt.Errorf("read block: %w", err)
	}
	x.block = nil
	err = records(v, func(r message.Record) { x.block = append(x.block, r) })
	if r := x.inBlock(seq); r != nil {
		return r, nil
	}
	if err == nil {
		err = kv.ErrNotFound
	}
	return nil, fmt.Errorf("read sequence %d: %w", seq, err)
}

func (x *expiry) inBlock(seq uint64) *message.Record {
	i, found := slices.BinarySearchFunc(x.block, seq, func(r message.Record, seq uint64) int { return cmp.Compare(r.Seq, seq) })
	if !found {
		return nil
	}
	return &x.block[i]
}

// commit makes the endings durable. There is no way back: they are announced.
func (x *expiry) commit() error {
	for _, part := range x.op.parts(x.s.sizes.op) {
		if err := x.s.commit(x.s.life, part); err != nil {
			return err
		}
		x.s.countExpired(part)
	}
	return nil
}

func (s *Spool) countExpired(op *endMessages) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range op.all {
		if e.done {
			s.ttl.expired++
		}
	}
}

// Expired is how many messages became dead letters by their TTL, since Open.
func (s *Spool) Expired() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ttl.expired
}

// Current is for whoever has waited with leases and not begun the attempt. It gives back
// those whose messages have expired, or come behind one of their ordering key that has,
// and those of a topic that was paused meanwhile,
// leaves out those that have ended, and has the others last as long as new ones: their
// Expires is put off.
func (s *Spool) Current(leases []*Lease) []*Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	expired, until := s.expiredBy(), s.opts.Now().Add(s.opts.LeaseFor)
	current := make([]*Lease, 0, len(leases))
	var late lateKeys
	for _, l := range leases {
		switch {
		case !s.owns(l):
		case l.entry.lane.paused(), late.passes(l.entry, expired):
			s.giveBack(l)
		default:
			l.entry.due, l.Expires = until, until // above window.lapse, as it was
			current = append(current, l)
		}
	}
	return current
}
