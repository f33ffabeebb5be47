package spool

import (
	"context"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/message"
)

// Cancel ends a held message before it is sent. When it returns nil that is on
// stable storage, and the message will never be forwarded.
//
// It is granted only if no attempt can have reached the broker: none was made in this
// process, or all ended known not stored, and none can have been made by a former one.
// Else ErrAlreadySent (in flight or settled) or ErrMaybeSent. Of a message that is
// cancelled already it returns the receipt. A half message is missing from its
// transaction from then on; where that is undecided, or a broker has it too, the error
// is ErrWrongState.
//
// A crash before Cancel returns leaves the message cancelled or pending. Once begun it
// does not end with ctx.
func (s *Spool) Cancel(ctx context.Context, id message.ID) (message.Receipt, error) {
	seq, current, err := s.toChange(ctx, id)
	if err != nil {
		return current, err
	}
	if current.State == message.StateUndecided {
		return current, fmt.Errorf("%w: decide its transaction", wrongState(current.State))
	}
	if current.State == message.StateHalf && s.halfAtBroker(seq) {
		return current, fmt.Errorf("%w: a broker has it, too; roll its transaction back", wrongState(current.State))
	}
	end, err := s.takeForCancel(seq, current)
	if errors.Is(err, ErrAlreadySent) {
		if moved, failed := s.movedTo(id, seq); moved && failed == nil {
			return s.Cancel(ctx, id) // it was delayed until now
		}
		return s.cancelled(ctx, id)
	}
	if err != nil {
		return current, err
	}
	op := &endMessages{all: []*ending{end}}
	if err := s.commit(context.WithoutCancel(ctx), op); err != nil { // end is announced: no way back
		return current, fmt.Errorf("cancel message %s: %w", id, err)
	}
	if !end.done {
		return s.cancelled(ctx, id)
	}
	return end.Receipt, nil
}

// errMoved: the message is no longer, or not yet, where it was looked for.
var errMoved = errors.New("message moved")

// cancelled returns the receipt of a message that cannot be cancelled (any
// more): with ErrAlreadySent, or none when that is because another call did it;
// then that is on stable storage, too.
func (s *Spool) cancelled(ctx context.Context, id message.ID) (message.Receipt, error) {
	for {
		r, err := s.Receipt(ctx, id)
		if err != nil {
			return r, err
		}
		if r.State != message.StateCancelled {
			return r, ErrAlreadySent
		}
		if !s.isSettling(s.seqOf(id)) {
			return r, nil
		}
		if err := s.commit(ctx, &flush{}); err != nil { // the other call's commit is this one, or before it, or not queued yet
			return r, fmt.Errorf("cancel message %s: %w", id, err)
		}
	}
}

func (s *Spool) isSettling(seq uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settling[seq] != nil
}

// takeForCancel takes the message from the forwarder, wherever it is. A message
// that is brought into memory while we read it on disk is there the next time.
func (s *Spool) takeForCancel(seq uint64, current message.Receipt) (*ending, error) {
	for {
		end, err := s.cancelInMemory(seq, current)
		if errors.Is(err, errMoved) {
			end, err = s.cancelOnDisk(seq)
		}
		if !errors.Is(err, errMoved) {
			return end, err
		}
	}
}

// cancelInMemory takes the message out of its window, so that nobody can lease
// it, or returns errMoved: it is not in memory.
func (s *Spool) cancelInMemory(seq uint64, current message.Receipt) (*ending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settling[seq] != nil || s.settled.has(seq) || s.dead[seq] != nil || current.State.Settled() {
		return nil, ErrAlreadySent
	}
	e := s.entries[seq]
	switch {
	case e == nil:
		return nil, errMoved
	case e.state == message.StateInFlight:
		return nil, ErrAlreadySent
	case e.mayHaveBeenSent():
		return nil, ErrMaybeSent
	}
	end := newEnding(e, message.StateCancelled, s.now())
	s.leave(e, end)
	return end, nil
}

// cancelOnDisk cancels a message that waits on disk: no attempt of this process
// reached it. Naming it in settling keeps it from being loaded meanwhile.
// errMoved: it is no longer there alone.
func (s *Spool) cancelOnDisk(seq uint64) (*ending, error) {
	e, until, err := s.entryOnDisk(seq)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.entries[seq] != nil || s.settling[seq] != nil || s.settled.has(seq) || s.dead[seq] != nil:
		return nil, errMoved
	case err != nil:
		return nil, fmt.Errorf("cancel: %w", err)
	case e.redriven != (s.redriven[seq] != nil):
		return nil, errMoved
	}
	e.lane = s.lanes[e.msg.Topic]
	h := s.holds[seq]
	if h != nil {
		e.tried = h.tried
	}
	if until == nil && e.mayHaveBeenSent() {
		return nil, ErrMaybeSent
	}
	if h != nil {
		s.dropHold(seq, h)
	}
	end := newEnding(e, message.StateCancelled, s.now())
	end.wasOnHold, end.delayed = h != nil, until
	s.announceEnd(end)
	return end, nil
}

// entryOnDisk reads a held message without bringing it into its window. Of a
// delayed one it tells what delays it.
func (s *Spool) entryOnDisk(seq uint64) (*entry, *delayed, error) {
	if rd := s.redrivenOf(seq); rd != nil {
		e, err := s.entryApart(rd, seq)
		return e, nil, err
	}
	r, until, err := s.findRecord(seq)
	if err != nil {
		return nil, nil, err
	}
	e := &entry{msg: &r.Message, size: heldSize(r), state: message.StatePending, expires: expiryOf(&r.Message)}
	if r.PayloadSize > 0 {
		e.payload, err = s.findPayload(r)
	}
	return e, until, err
}
