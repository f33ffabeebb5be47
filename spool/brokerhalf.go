package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// A transaction of mode broker is one of which a broker has a half message, too. Its
// message is kept here as any half message is, and stays when it is committed, until
// the broker has confirmed that: then it is confirmed without having been pending. If
// the broker has no half message any more it becomes pending, and is sent as others
// are. What a broker has to be told stands in the entry of the transaction, which is
// found by a seek under a clock of its own until all of it is done.

// BrokerHalf is what the spool knows of the half messages that a broker has, or may
// have, of a transaction. Each replaces the one before.
type BrokerHalf struct {
	Issued uint64            // number of the last that was to be sent, or maybe was
	Number uint64            // of the one that stands; 0: none is known to be there
	Place  message.HalfPlace // where that is
	Former []message.HalfPlace
	Ended  bool // all that is known of is ended

	Tries   uint64 // to end it
	LastTry string // what the last of them brought, if nothing was confirmed
}

const (
	maxFormer = 4 // of those that were replaced; the oldest is dropped: its broker still asks
	// maxPlace bounds a place, encoded.
	maxPlace = 1 << 10
)

func (h *BrokerHalf) size() int {
	if h == nil {
		return 0
	}
	return 5*binary.MaxVarintLen64 + maxDetail + (1+maxFormer)*maxPlace
}

func (h *BrokerHalf) append(b []byte) []byte {
	ended := uint64(0)
	if h.Ended {
		ended = 1
	}
	for _, n := range [...]uint64{h.Issued, h.Number, ended, h.Tries, uint64(len(h.Former))} {
		b = binary.AppendUvarint(b, n)
	}
	b = appendPlace(appendText(b, h.LastTry), &h.Place)
	for i := range h.Former {
		b = appendPlace(b, &h.Former[i])
	}
	return b
}

func readBrokerHalf(f *fields) *BrokerHalf {
	h := &BrokerHalf{Issued: f.uint(), Number: f.uint(), Ended: f.uint() > 0, Tries: f.uint()}
	former := f.uint()
	h.LastTry, h.Place = f.text(), readPlace(f)
	for range min(former, maxFormer) {
		h.Former = append(h.Former, readPlace(f))
	}
	return h
}

func placeTexts(p *message.HalfPlace) [8]*string {
	return [8]*string{&p.Topic, &p.Broker, &p.Address, &p.Group, &p.Queue, &p.OffsetMessageID, &p.MessageID, &p.TransactionID}
}

func appendPlace(b []byte, p *message.HalfPlace) []byte {
	for _, text := range placeTexts(p) {
		b = appendText(b, *text)
	}
	return binary.AppendVarint(binary.AppendVarint(b, p.QueueOffset), p.LogOffset)
}

func readPlace(f *fields) (p message.HalfPlace) {
	for _, text := range placeTexts(&p) {
		*text = f.text()
	}
	p.QueueOffset, p.LogOffset = f.int(), f.int()
	return p
}

// decide notes a decision, and reports whether the message stays half after it: it is
// committed, and its broker has still to confirm that.
func (h *BrokerHalf) decide(to TransactionState) (stays bool) {
	if h == nil {
		return false
	}
	h.Ended = h.Number == 0
	return !h.Ended && to == TransactionCommitted
}

// replace notes the half message that stands from now on.
func (h *BrokerHalf) replace(number uint64, p message.HalfPlace) {
	if number > h.Number && h.Number > 0 {
		h.Former = append(h.Former, h.Place)
		h.Former = h.Former[max(0, len(h.Former)-maxFormer):]
	}
	h.Number, h.Place, h.Issued = number, p, max(h.Issued, number)
}

// ends reports whether the broker is still to be told a decision.
func (t *Transaction) ends() bool { return t.State.Decided() && t.Half != nil && !t.Half.Ended }

// commits reports whether its message may be half, although it is committed.
func (t *Transaction) commits() bool { return t.ends() && t.State == TransactionCommitted }

// released reports whether its messages are half no more.
func (t *Transaction) released() bool { return t.State.Decided() && !t.commits() }

// PlaceHalf notes where a half message of a transaction is, or is now: on stable
// storage when it returns nil. Of one that is replaced, or of a transaction for which
// all is done, it notes nothing, and returns what stands. Nor of a later one once there
// is a decision, of which the half message that stands may be being told.
func (s *Spool) PlaceHalf(ctx context.Context, id string, number uint64, p message.HalfPlace) (Transaction, error) {
	if n := len(appendPlace(nil, &p)); n > maxPlace {
		return Transaction{}, fmt.Errorf("place of a half message: %w", &TooLargeError{"a place", int64(n), maxPlace})
	}
	return s.changeTransaction(ctx, id, func(t *Transaction) (operation, error) {
		h := t.Half
		if h == nil || number < h.Number || number == h.Number && h.Place == p || t.State.Decided() && (h.Ended || number > h.Number) {
			return nil, nil // nothing is left to do
		}
		op := &rewrite{Transaction: t, was: t.due()}
		h.replace(number, p)
		return op, nil
	})
}

// IssueHalf numbers another half message of an open transaction, that is to be sent in
// place of the one that stands: on stable storage when it returns nil. Of one that is
// decided, or has none, it returns what stands.
func (s *Spool) IssueHalf(ctx context.Context, id string) (Transaction, error) {
	return s.changeTransaction(ctx, id, func(t *Transaction) (operation, error) {
		if t.Half == nil || t.State.Decided() {
			return nil, nil // nothing is left to do
		}
		t.Half.Issued++
		return &rewrite{Transaction: t, was: t.due()}, nil
	})
}

// rewrite writes a transaction that stays where it is in the index.
type rewrite struct {
	*Transaction

	was due
}

func (op *rewrite) size() int       { return op.room() }
func (op *rewrite) apply(c *commit) { op.write(c, op.was) }
func (*rewrite) synced(*Spool)      {}

// HalfEnd is what a broker is to be told of a transaction that is decided.
type HalfEnd struct {
	Transaction

	// Commit: the half message that stands is to be committed. Else it is rolled back, if
	// its message was, or is sent without it; not so if its commit was confirmed: then
	// only those that were replaced are left.
	Commit bool
}

// DueEnds returns transactions whose decision a broker is to be told now, as DueChecks
// does what is to be checked: each once in a process, until EndedHalf or EndHalfAgain.
// One goroutine calls it.
func (s *Spool) DueEnds(ctx context.Context, most int) (all []HalfEnd, err error) {
	for {
		if err := s.over(ctx); err != nil {
			return nil, err
		}
		err := s.eachDue(clockEnding, func(d due) bool {
			if len(all) == most {
				return false
			}
			if t := s.dueCheck(d); t != nil {
				all = append(all, HalfEnd{*t, t.State == TransactionCommitted && s.staysHalf(t)})
			}
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("read what is to be ended: %w", err)
		}
		if len(all) > 0 {
			return all, nil
		}
		timer := time.NewTimer(sleepFor(clockEnding, s.nextDue(clockEnding), s.clock.now()))
		err = s.awaitUntil(ctx, s.transactions.ending, timer.C)
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// staysHalf reports whether a message of t is half, or may be: what cannot be read is
// not rolled back.
func (s *Spool) staysHalf(t *Transaction) bool {
	return slices.ContainsFunc(t.Messages, func(id message.ID) bool {
		_, err := s.surelyHalf(t, id)
		return !errors.Is(err, kv.ErrNotFound)
	})
}

// Told is what a broker has answered of a HalfEnd.
type Told struct {
	Place  message.HalfPlace   // what was ended
	Former []message.HalfPlace // and of those before it
	Commit bool
	Gone   bool // it has no half message there
}

// EndedHalf notes what a broker has answered: on stable storage when it returns nil.
// The message of one that was committed is confirmed, or becomes pending where the
// half message is gone. If the half message was found elsewhere meanwhile, that is
// still to be ended.
func (s *Spool) EndedHalf(ctx context.Context, id string, told Told) (Transaction, error) {
	return s.changeTransaction(ctx, id, func(t *Transaction) (operation, error) {
		if !t.ends() {
			return nil, nil // nothing is left to do
		}
		stands := t.Half.Place == told.Place
		op := &halfEnded{decision: decision{Transaction: t, was: t.due()}}
		if told.Commit && (stands || !told.Gone) {
			if err := s.settleHalf(t, told, op); err != nil {
				return nil, err
			}
		}
		t.Half.Former = slices.DeleteFunc(t.Half.Former, func(p message.HalfPlace) bool { return slices.Contains(told.Former, p) })
		t.Half.Ended = stands && len(t.Half.Former) == 0
		t.Half.Tries, t.Half.LastTry = 0, ""
		return op, nil
	})
}

// settleHalf has the message of t confirmed, or moved.
func (s *Spool) settleHalf(t *Transaction, told Told, op *halfEnded) error {
	for _, id := range t.Messages {
		n, err := s.surelyHalf(t, id)
		switch {
		case err == nil && told.Gone:
			op.add(s, n, TransactionCommitted)
		case err == nil:
			end, confirmed := s.endHalf(n, message.StateConfirmed), told.Place.Confirmation()
			end.Confirmation = &confirmed
			op.ended = append(op.ended, end)
		case s.db.Err() != nil || s.closed():
			return err
		case !errors.Is(err, kv.ErrNotFound):
			s.notice(fmt.Sprintf("message %s of transaction %s: %v", id, t.ID, err))
		}
	}
	return nil
}

// halfEnded notes what a broker has confirmed.
type halfEnded struct{ decision }

func (op *halfEnded) size() int {
	size := op.decision.size()
	for _, e := range op.ended {
		size += e.bytes()
	}
	return size
}

func (op *halfEnded) apply(c *commit) {
	op.settle(c)
	op.write(c, op.was)
}

// EndHalfAgain notes that a broker has confirmed nothing, and is told again after some
// time. It is written with the next commit.
func (s *Spool) EndHalfAgain(ctx context.Context, id, why string, in time.Duration) error {
	o, err := s.own(ctx, s.names.ofID(id))
	if err != nil {
		return err
	}
	t, err := s.named(s.names.ofID(id))
	if err != nil || !t.ends() {
		s.unlessUnknown(o, nil)
		return err
	}
	t.Half.Tries++
	t.Half.LastTry = clip(why)
	s.post(&ownedOperation{&checkAgain{Transaction: t, was: t.due(), in: in}, o})
	return nil
}

// halfAtBroker reports whether a message is half, and a broker has it, too, or may.
func (s *Spool) halfAtBroker(seq uint64) bool {
	d, err := s.findDelayed(seq)
	if err != nil || !d.half() {
		return false
	}
	t, err := s.numbered(d.due.at)
	return err == nil && t.Half != nil
}
