package spool

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/remora-mq/remora/message"
)

// Exported tells what an export has, and has not.
type Exported struct {
	Messages     int // without those of transactions
	Transactions int // that are open, with their messages
	Decided      int // transactions, without their messages
	Keys         int // idempotency keys of settled messages
	Unreadable   int // places that are damaged, which Audit names
}

// Export writes what a query asks for to w, in the form of exportline.go: what
// was held when it began, and still is when its page is read, each message with
// its idempotency key. When the query asks for all that is held, the keys of
// settled messages follow, and the decided transactions that are known go before, so that
// a repeat of any of them is known elsewhere. It
// ends with the trailer only when all of it was written. What is not delayed is there
// in the order in which it is sent, dead letters at their places. A message that is due
// meanwhile may be there twice. A transaction is there whole, where all is asked for, or
// its state alone. Settled messages have no export, nor have parts of transactions:
// ErrExport.
func (s *Spool) Export(ctx context.Context, w io.Writer, q Query) (Exported, error) {
	if slices.ContainsFunc(q.States, message.State.Settled) {
		return Exported{}, fmt.Errorf("export settled messages: %w", ErrExport)
	}
	sum := sha256.New()
	e := &exporter{s: s, w: bufio.NewWriterSize(io.MultiWriter(w, sum), 256<<10)}
	err := e.write(ctx, q)
	if err == nil {
		err = e.w.Flush()
	}
	if err == nil {
		err = json.NewEncoder(w).Encode(trailerLine{&e.done.Messages, e.done.Transactions, e.done.Decided, e.done.Keys, hex.EncodeToString(sum.Sum(nil))})
	}
	if err != nil {
		return e.done, fmt.Errorf("export: %w", err)
	}
	return e.done, nil
}

// exporter writes all lines but the trailer.
type exporter struct {
	s       *Spool
	w       *bufio.Writer
	version int  // of the format
	whole   bool // all that is held is asked for
	keys    keysOfHeld
	line    []byte
	done    Exported
}

func (e *exporter) write(ctx context.Context, q Query) error {
	whole := q.asksForAll()
	e.version, e.whole = e.s.exportVersionFor(whole), whole
	header, err := json.Marshal(headerLine{e.version, e.s.ID().String(), e.s.now().UTC()})
	if err != nil {
		return err
	}
	if _, err := e.w.Write(append(header, '\n')); err != nil {
		return err
	}
	transactions, err := q.asksForTransactions()
	if err != nil {
		return err
	}
	if transactions && e.version > exportVersionTTL {
		if err := e.transactions(ctx); err != nil {
			return err
		}
	}
	if !whole && transactions && len(q.States) == 0 {
		return nil
	}
	if err := e.allMessages(ctx, q); err != nil || !whole {
		return err
	}
	return e.s.settledKeys(ctx, func(k *settledKey) error {
		e.done.Keys++
		return e.add("key", k)
	})
}

// allMessages writes those that a query asks for. What is delayed comes first, so that
// what falls due before all else is read has been asked for, and its key under either
// sequence.
func (e *exporter) allMessages(ctx context.Context, q Query) (err error) {
	q.Content = true
	delayed, others := q.states()
	for _, part := range []struct {
		states []message.State
		write  func(context.Context, Query) error
	}{{delayed, e.delayed}, {others, e.inOrder}} {
		if len(part.states) == 0 {
			continue
		}
		q.States, q.upTo = part.states, max(e.s.highWater(), 1)
		if e.keys, err = e.s.heldKeys(ctx); err != nil {
			return err
		}
		if err := part.write(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// states are those that a query asks for: delayed ones, and all others.
func (q *Query) states() (delayed, others []message.State) {
	all := q.States
	if len(all) == 0 {
		all = []message.State{message.StateDelayed, message.StatePending, message.StateInFlight, message.StateRetrying, message.StateDead}
	}
	for _, is := range all {
		if is == message.StateDelayed {
			delayed = append(delayed, is)
		} else {
			others = append(others, is)
		}
	}
	return delayed, others
}

// asksForAll reports whether a query has no filter.
func (q *Query) asksForAll() bool {
	return len(q.States) == 0 && !q.OnHold && q.Topic == "" && q.Key == "" && q.Tag == "" && q.Error == "" && q.Cause == "" && q.Before.IsZero()
}

func (s *Spool) highWater() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.highWater
}

// exportVersionFor is the oldest format that has all: then an older version takes it in,
// too. One that is open may be decided while the export is written.
func (s *Spool) exportVersionFor(whole bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.head.format >= formatTimer && len(s.dead) > 0:
		return exportVersion
	case whole && (s.half > 0 || s.transactions.counts != TransactionCounts{}):
		return exportVersionDecided
	case s.half > 0:
		return exportVersionHalf
	default:
		return exportVersionTTL
	}
}

func (e *exporter) delayed(ctx context.Context, q Query) error {
	for {
		page, err := e.s.List(ctx, q)
		if err != nil {
			return err
		}
		e.done.Unreadable += page.Unreadable
		for i := range page.Items {
			if err := e.message(&page.Items[i]); err != nil {
				return err
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return nil
		}
	}
}

// add writes a line.
func (e *exporter) add(kind string, x any) (err error) {
	if e.line, err = appendLine(e.line[:0], kind, x); err == nil {
		_, err = e.w.Write(e.line)
	}
	return err
}
