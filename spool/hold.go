package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// hold keeps one message from being forwarded, by an operator's order: one that is
// pending, or delayed (holddelayed.go).
// The message stays where it is on disk; the hold has an entry of its own, sw.
// In memory a message on hold is out of its window, so that however many are on
// hold, they take no room from those that are to be sent.
type hold struct {
	lane *lane
	at   time.Time

	delayed   bool
	synced    bool // its entry is on disk
	releasing bool // its entry is about to go
	passed    bool // its ordering key is in window.onHold

	// What the process knew of it when it was put on hold.
	tried
	orderingKey string
}

func newHold(e *entry, at time.Time) *hold {
	return &hold{lane: e.lane, at: at, tried: e.tried, orderingKey: e.msg.OrderingKey}
}

// tell adds to the receipt of a held message what its hold knows.
func (h *hold) tell(r *message.Receipt) {
	r.OnHold = true
	h.tried.tell(r)
}

// Hold keeps a pending or retrying message from being forwarded until
// ReleaseHeld, and a delayed one from falling due. When it returns nil that is on
// stable storage; a crash before leaves the message on hold or not. Later messages
// of the ordering key of one that is not delayed wait for it. Of a message on hold
// already it returns the receipt.
//
// Errors: ErrNotFound; ErrWrongState when an attempt is being made, or the
// message is a dead letter or settled; those of a commit. Once begun it does
// not end with ctx.
func (s *Spool) Hold(ctx context.Context, id message.ID) (message.Receipt, error) {
	seq, current, err := s.toChange(ctx, id)
	if err != nil {
		return current, err
	}
	for {
		op, err := s.takeForHold(seq, current)
		if s.movedOn(id, seq, current, err) {
			return s.Hold(ctx, id)
		}
		if err != nil && !errors.Is(err, errReleasing) {
			return current, err
		}
		if op == nil {
			return s.Receipt(context.WithoutCancel(ctx), id)
		}
		if failed := s.commit(context.WithoutCancel(ctx), op); failed != nil { // it is out of its window: no way back
			return current, fmt.Errorf("hold message %s: %w", id, failed)
		}
		if err == nil {
			return s.Receipt(context.WithoutCancel(ctx), id)
		}
	}
}

// errReleasing: another call is letting the message go; after the next commit
// it has.
var errReleasing = errors.New("message is being released")

// takeForHold takes the message from the forwarder, wherever it is, and returns
// what makes that durable; nil: it is.
func (s *Spool) takeForHold(seq uint64, current message.Receipt) (operation, error) {
	for {
		op, err := s.holdInMemory(seq, current)
		if errors.Is(err, errMoved) {
			op, err = s.holdOnDisk(seq)
		}
		if !errors.Is(err, errMoved) {
			return op, err
		}
	}
}

func (s *Spool) holdInMemory(seq uint64, current message.Receipt) (operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.holdable(seq, current); err != nil {
		return nil, err
	}
	if h := s.holds[seq]; h != nil {
		return h.again(seq)
	}
	e := s.entries[seq]
	if e == nil {
		return nil, errMoved
	}
	if e.state == message.StateInFlight {
		return nil, fmt.Errorf("%w: an attempt is being made; ask again when it has ended", ErrWrongState)
	}
	s.takeOut(e)
	e.lane.ready.raise() // there is room
	return s.addHold(seq, newHold(e, s.now())), nil
}

// again is what a second call for a message on hold has to do.
func (h *hold) again(seq uint64) (operation, error) {
	switch {
	case h.releasing:
		return &flush{}, errReleasing
	case h.synced:
		return nil, nil //nolint:nilnil // nothing is left to do
	}
	return &setHold{seq, h}, nil
}

// holdOnDisk is for a message that no window has. Naming it in holds keeps it
// from being brought into one. errMoved: it is no longer on disk alone.
func (s *Spool) holdOnDisk(seq uint64) (operation, error) {
	e, until, err := s.entryOnDisk(seq)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.entries[seq] != nil || s.settling[seq] != nil || s.settled.has(seq) || s.dead[seq] != nil || s.holds[seq] != nil:
		return nil, errMoved
	case err != nil:
		return nil, fmt.Errorf("hold: %w", err)
	case e.redriven != (s.redriven[seq] != nil):
		return nil, errMoved
	}
	e.lane = s.lanes[e.msg.Topic]
	h := newHold(e, s.now())
	h.delayed = until != nil
	return s.addHold(seq, h), nil
}

// holdable says why a message cannot be put on hold or released. s.mu is held.
func (s *Spool) holdable(seq uint64, current message.Receipt) error {
	switch r := s.settling[seq]; {
	case r != nil:
		return wrongState(r.State)
	case s.dead[seq] != nil:
		return wrongState(message.StateDead)
	case current.State == message.StateHalf || current.State == message.StateUndecided:
		if s.settled.has(seq) { // it was decided meanwhile
			return fmt.Errorf("%w: its transaction has just been decided", ErrWrongState)
		}
		return wrongState(current.State)
	case s.settled.has(seq) && !current.State.Settled():
		return fmt.Errorf("%w: it has just been settled", ErrWrongState)
	case s.settled.has(seq):
		return wrongState(current.State)
	}
	return nil
}

func wrongState(is message.State) error { return fmt.Errorf("%w: it is %s", ErrWrongState, is) }

// addHold keeps the message back, and later ones of its ordering key. s.mu is held.
func (s *Spool) addHold(seq uint64, h *hold) operation {
	s.noteHold(seq, h)
	if !h.delayed {
		s.passHold(seq, h)
	}
	return &setHold{seq, h}
}

func (s *Spool) noteHold(seq uint64, h *hold) {
	s.holds[seq] = h
	*h.count()++
	s.left.raise()
}

// count is where its lane counts it.
func (h *hold) count() *int {
	if h.delayed {
		return &h.lane.delayedOnHold
	}
	return &h.lane.onHold
}

func (s *Spool) dropHold(seq uint64, h *hold) {
	delete(s.holds, seq)
	*h.count()--
	if h.passed {
		h.lane.window.onHold.drop(h.orderingKey, seq)
		h.lane.window.free(h.orderingKey)
		h.lane.ready.raise()
	}
}

// passHold makes later messages of its ordering key wait. s.mu is held.
func (s *Spool) passHold(seq uint64, h *hold) {
	if !h.passed {
		h.passed = true
		h.lane.window.onHold.add(h.orderingKey, seq)
	}
}

// passes reports whether m, which a window comes upon, is not to be brought in.
// s.mu is held.
func (s *Spool) passes(m *message.Message) bool {
	if h := s.holds[m.Seq]; h != nil {
		h.orderingKey = m.OrderingKey
		s.passHold(m.Seq, h)
		return true
	}
	return s.settled.has(m.Seq) || s.apart(m.Seq) || s.settling[m.Seq] != nil
}

// heldKeys are the sequences on hold by ordering key, in order: what comes
// behind the first of them waits.
type heldKeys map[string][]uint64

func (k heldKeys) add(key string, seq uint64) {
	if key == "" {
		return
	}
	at, _ := slices.BinarySearch(k[key], seq)
	k[key] = slices.Insert(k[key], at, seq)
}

func (k heldKeys) drop(key string, seq uint64) {
	at, found := slices.BinarySearch(k[key], seq)
	if !found {
		return
	}
	if k[key] = slices.Delete(k[key], at, at+1); len(k[key]) == 0 {
		delete(k, key)
	}
}

// before reports whether an earlier message of m's ordering key is on hold.
func (k heldKeys) before(m *message.Message) bool {
	seqs := k[m.OrderingKey]
	return len(seqs) > 0 && seqs[0] < m.Seq
}

// setHold writes the entry of a hold.
type setHold struct {
	seq uint64
	h   *hold
}

func (op *setHold) size() int { return fixedSize }

func (op *setHold) apply(c *commit) {
	if c.s.holds[op.seq] == op.h { // else it was cancelled meanwhile
		if op.h.delayed {
			c.needs(formatTTL) // an older version would let it fall due
		}
		c.sets = append(c.sets, pair{holdKey(op.h.lane.id, op.seq), encodeHold(op.h)})
	}
}

func (op *setHold) synced(*Spool) { op.h.synced = true }

func encodeHold(h *hold) []byte {
	return seal(binary.AppendUvarint(nil, uint64(max(h.at.UnixMilli(), 0))))
}

func decodeHold(v []byte) (*hold, error) {
	b, err := unseal(v)
	if err != nil {
		return nil, fmt.Errorf("read hold: %w", err)
	}
	f := fields{b: b}
	h := &hold{at: f.time(), synced: true}
	return h, f.err("read hold")
}

// loadHolds reads the holds; their ordering keys are learnt when a window comes
// upon them, before it comes upon what waits for them.
func (s *Spool) loadHolds() error {
	return s.scanAll(holdPrefix, func(k, v []byte) error {
		h, err := decodeHold(v)
		if err != nil { // that there is one is what counts
			h = &hold{at: s.now(), synced: true}
		}
		seq := tail64(k, len(holdPrefix)+4)
		h.lane = s.byID[tail32(k, len(holdPrefix))]
		if h.lane != nil && !s.settled.has(seq) && s.dead[seq] == nil {
			h.delayed = s.isDelayed(seq, h.lane.id)
			s.noteHold(seq, h)
			s.holdRedriven(seq, h)
		}
		return err
	})
}
