package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// ResendFilter chooses among the confirmed messages whose bodies are still here.
// A field that is zero chooses all.
type ResendFilter struct {
	Topic string
	// Since and Until bound when a message was confirmed, to the precision of what
	// is kept: none of those in between is left out, and others may be chosen that
	// were accepted in one commit with them, or confirmed some seconds before.
	Since, Until time.Time
	IDs          []message.ID
}

// Resent is what a call of Resend has ordered, or would.
type Resent struct {
	Messages int          // that are sent again
	Bytes    int64        // of these
	Already  int          // that were ordered before and are not confirmed again
	Missing  []message.ID // of the filter's IDs: not confirmed, or no longer kept
}

// resendBlock is a block that may have messages to send again.
type resendBlock struct {
	topic    uint32
	firstSeq uint64
}

// Resend has confirmed messages sent again, under the same message IDs and topic
// sequences, for a broker that lost them. When it returns nil the order is on
// stable storage: a crash repeats some, and leaves none out. With dry it only
// counts. What was confirmed before the call is recorded first, so that it counts: its
// own commit may be some 50 ms away. The ledger counts copies apart, as resent. Within a topic they go
// before what is pending, whose order does not change.
//
// It reads what it chooses. An error leaves some ordered and others not; calling
// again orders the rest.
func (s *Spool) Resend(ctx context.Context, f ResendFilter, dry bool) (Resent, error) {
	r := &resend{s: s, filter: f, dry: dry, op: &orderAll{}}
	if err := s.over(ctx); err != nil {
		return r.out, err
	}
	err := s.commit(ctx, &flush{})
	var blocks []resendBlock
	if err == nil {
		blocks, err = r.candidates(ctx)
	}
	if err == nil {
		err = r.visitAll(ctx, blocks)
	}
	if err != nil {
		return r.out, fmt.Errorf("resend: %w", err)
	}
	for _, id := range f.IDs {
		if !r.found[id] {
			r.out.Missing = append(r.out.Missing, id)
		}
	}
	return r.out, nil
}

type resend struct {
	s      *Spool
	filter ResendFilter
	dry    bool
	op     *orderAll
	found  map[message.ID]bool // nil: no IDs are asked for
	moved  []resendBlock       // were found where they are not any more
	out    Resent
}

// visitAll orders what the filter chooses of some blocks. A block that a lane
// passes meanwhile is kept, or gone: after the next commit it is known which.
func (r *resend) visitAll(ctx context.Context, blocks []resendBlock) error {
	const tries, some = 2, 64
	for range tries {
		r.moved = nil
		for part := range slices.Chunk(blocks, some) {
			if err := r.visitSome(ctx, part); err != nil {
				return err
			}
		}
		if blocks = r.moved; len(blocks) == 0 {
			return nil
		}
		if err := r.s.commit(ctx, &flush{}); err != nil {
			return err
		}
	}
	return nil
}

// visitSome keeps what is retained from being dropped between its reading and
// its order. It is for few blocks: what has to make room waits.
func (r *resend) visitSome(ctx context.Context, blocks []resendBlock) error {
	r.s.dropping.Lock()
	defer r.s.dropping.Unlock()
	for _, b := range blocks {
		if err := cmp.Or(ctx.Err(), r.s.life.Err()); err != nil {
			return err
		}
		if err := r.visit(ctx, b); err != nil {
			return err
		}
	}
	return r.flush(ctx)
}

// visit orders the messages of one block. One that is gone meanwhile has none.
func (r *resend) visit(ctx context.Context, b resendBlock) error {
	s := r.s
	v, err := s.db.Get(blockKey(b.topic, b.firstSeq))
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read block: %w", err)
	}
	l := s.laneByID(b.topic)
	if l == nil {
		return nil
	}
	order := &orderCopies{lane: l, firstSeq: b.firstSeq, count: blockCount(v), sizes: map[uint64]int{}}
	var chosen []message.Record
	// What cannot be read is not promised; an audit names it, if it is held.
	_ = records(v, func(rec message.Record) {
		if rec.Seq >= b.firstSeq && r.wants(&rec) {
			chosen = append(chosen, rec)
		}
	})
	for i := range chosen {
		if rec := &chosen[i]; r.sendable(rec) {
			order.count = max(order.count, int(rec.Seq-b.firstSeq)+1) // that of a damaged block may be wrong
			order.seqs = append(order.seqs, rec.Seq)
			order.ids = append(order.ids, rec.ID)
			order.sizes[rec.Seq] = heldSize(*rec)
		}
	}
	if len(order.seqs) == 0 {
		return nil
	}
	if r.op.orders = append(r.op.orders, order); r.op.size() < s.sizes.op {
		return nil
	}
	return r.flush(ctx)
}

// wants reports whether the filter chooses a record.
func (r *resend) wants(rec *message.Record) bool {
	if r.found != nil {
		if _, asked := r.found[rec.ID]; !asked {
			return false
		}
	}
	if r.filter.Topic != "" && rec.Topic != r.filter.Topic {
		return false
	}
	return r.filter.Until.IsZero() || !rec.AcceptedAt.After(r.filter.Until)
}

// sendable reports whether a message was confirmed, and all of it is here. One
// without a number is from before it was noted what ended otherwise, unless it
// was imported.
func (r *resend) sendable(rec *message.Record) bool {
	s := r.s
	s.mu.Lock()
	ok := s.settled.has(rec.Seq) && !s.apart(rec.Seq) && !s.retained.barred.has(rec.Seq)
	s.mu.Unlock()
	if ok && rec.PayloadSize > 0 {
		_, err := s.findPayload(*rec)
		ok = err == nil
	}
	if ok && rec.TopicSeq == 0 {
		ok = s.isImported(rec)
	}
	return ok
}

func (s *Spool) isImported(rec *message.Record) bool {
	p, found := s.whereabouts(rec.ID)
	if found {
		return p.seq == rec.Seq
	}
	if err := s.hiddenWhereabouts(rec.ID); errors.Is(err, kv.ErrDamaged) { // it may just be closing
		s.notice(fmt.Sprintf("message %s is not sent again: %v", rec.ID, err))
	}
	return false
}

// flush commits what was collected, or counts it.
func (r *resend) flush(ctx context.Context) error {
	op := r.op
	r.op = &orderAll{}
	if len(op.orders) == 0 {
		return nil
	}
	if r.dry {
		r.s.mu.Lock()
		op.count(r.s)
		r.s.mu.Unlock()
	} else if err := r.s.commit(context.WithoutCancel(ctx), op); err != nil {
		return err
	}
	for _, o := range op.orders {
		if o.gone {
			r.moved = append(r.moved, resendBlock{o.lane.id, o.firstSeq})
			continue
		}
		for _, id := range o.ids {
			if r.found != nil {
				r.found[id] = true
			}
		}
		r.out.Messages += o.added
		r.out.Bytes += o.bytes
		r.out.Already += o.already
	}
	return nil
}

// orderAll makes the orders of some blocks durable.
type orderAll struct{ orders []*orderCopies }

func (o *orderAll) size() int {
	size := fixedSize
	for _, one := range o.orders {
		size += one.size()
	}
	return size
}

func (o *orderAll) apply(c *commit) {
	for _, one := range o.orders {
		one.apply(c)
	}
}

func (o *orderAll) synced(s *Spool) {
	for _, one := range o.orders {
		one.synced(s)
	}
}

// count does what apply does, but for ordering anything.
func (o *orderAll) count(s *Spool) {
	for _, one := range o.orders {
		one.choose(s)
	}
}
