package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Query says which messages List returns. A zero field asks for all that are held.
type Query struct {
	// States may name settled ones: of those there are receipts, which have neither
	// keys nor tags.
	States  []message.State
	OnHold  bool // only those that an operator keeps back
	Topic   string
	Key     string // one of its keys
	Tag     string
	Error   string    // part of its last error
	Cause   string    // why it is a dead letter: Item.Reason
	Before  time.Time // accepted before
	Cursor  string    // Page.Next of the page before; empty: the first page
	Limit   int       // items a page; default 100, at most 1,000
	Content bool      // with body and properties
	Numbers *Numbers  // only those that have one of these numbers in the topic

	upTo uint64 // no sequence above; 0: all
}

// Page is some of what a Query asks for.
type Page struct {
	Items []Item
	// Next is the cursor of the next page; empty: there is none. A page may be
	// short, or empty, and not the last: a call does a bounded amount of work.
	Next string
	// Unreadable counts blocks and dead letters that were passed over, all or in
	// part, because they are damaged: Audit names what is missing.
	Unreadable int
}

// Item is a message.
type Item struct {
	message.Receipt
	Message *message.Message // nil of a settled one; its Body and Properties are nil without Query.Content
	Size    int              // what it counts for in the ledger, in bytes
	Reason  string           // why it is a dead letter
	// BlockedBy is the dead letter of its ordering key that it waits for; zero: none.
	BlockedBy message.ID
	// TopicPaused: it waits, and its topic is paused by an operator.
	TopicPaused bool
}

// ErrCursor reports a cursor that no page gave.
var ErrCursor = errors.New("no page has given this cursor; begin without one")

const (
	defaultPage = 100
	maxPage     = 1000
	// pageBytes bounds what one call of List reads, beyond its last message.
	pageBytes = 8 << 20
	// stepBytes is what a step over an entry of the index counts for.
	stepBytes = 64
)

// List returns held messages: those that are delayed, then those that wait or are in
// flight, each in the order in which they were accepted, or became pending, then dead
// letters, and those that were redriven, by topic; last, where settled ones are asked
// for, those whose receipts are kept. It reads a bounded amount and holds no lock
// meanwhile: a message that changes its state between two pages may be on both, and one
// that stays held is on one.
func (s *Spool) List(ctx context.Context, q Query) (Page, error) {
	at, err := parsePosition(q.Cursor)
	if err != nil {
		return Page{}, err
	}
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	q.Limit = min(q.Limit, maxPage)
	l := &lister{ctx: ctx, s: s, q: q, at: at, left: pageBytes, page: Page{Items: []Item{}}}
	if err := l.run(); err != nil {
		return Page{}, fmt.Errorf("list messages: %w", err)
	}
	return l.page, nil
}

type lister struct {
	ctx  context.Context
	s    *Spool
	q    Query
	r    kv.Reader
	at   position
	left int // bytes that may still be read
	page Page

	waited bool // for a commit, by an export that missed the entry of a dead letter
}

// run walks on from at until the page is full, the work is done, or all is seen.
// Each part is looked at in a later view than the one before: what dies or ends
// between is in a later one.
func (l *lister) run() error {
	for part, walk := range []func() (bool, error){l.walkDelayed, l.walkBlocks, l.walkDead, l.walkEnded} {
		if l.at.part > part || !l.wants(part) {
			continue
		}
		if l.at.part != part {
			l.at = position{part: part}
		}
		if done, err := l.walk(walk); err != nil {
			return err
		} else if !done {
			l.page.Next = l.at.String()
			return nil
		}
	}
	return nil
}

// full reports whether the page is to end here.
func (l *lister) full() bool { return len(l.page.Items) >= l.q.Limit || l.left <= 0 }

// walkBlocks reads on behind at.seq; done: it came to the end.
func (l *lister) walkBlocks() (done bool, err error) {
	if l.q.Topic == "" {
		return l.walkIndex()
	}
	t := l.s.laneOf(l.q.Topic)
	if t == nil {
		return true, nil
	}
	prefix := key32(blockPrefix, t.id)
	first, err := l.beginsAt(prefix, blockKey(t.id, l.at.seq+1))
	if err != nil {
		return false, err
	}
	return l.scan(kv.Scan{Prefix: prefix, From: blockKey(t.id, first)}, func(k, v []byte) error {
		return l.block(tail64(k, len(prefix)), v)
	})
}

// walkIndex reads the blocks of all topics, in the order of their sequences.
func (l *lister) walkIndex() (done bool, err error) {
	first, err := l.beginsAt(indexPrefix, indexKey(l.at.seq+1))
	if err != nil {
		return false, err
	}
	return l.scan(kv.Scan{Prefix: indexPrefix, From: indexKey(first)}, func(k, v []byte) error {
		firstSeq := tail64(k, len(indexPrefix))
		if l.q.upTo > 0 && firstSeq > l.q.upTo {
			return errBeyond
		}
		l.left -= stepBytes
		x, err := decodeIndex(v)
		if err != nil {
			l.passOver(firstSeq)
			return nil //nolint:nilerr // what cannot be read is counted, and hides nothing else
		}
		last := firstSeq + uint64(x.count) - 1
		if last <= l.at.seq {
			return nil
		}
		v, err = l.r.Get(blockKey(x.topic, firstSeq))
		if errors.Is(err, kv.ErrNotFound) || errors.Is(err, kv.ErrDamaged) {
			l.passOver(last)
			return nil
		}
		if err != nil {
			return err
		}
		return l.block(firstSeq, v)
	})
}

// block lists what is held of a block, behind at.seq.
func (l *lister) block(firstSeq uint64, v []byte) error {
	if l.q.upTo > 0 && firstSeq > l.q.upTo {
		return errBeyond
	}
	l.left -= len(v)
	var found []message.Record
	last := firstSeq
	err := records(v, func(r message.Record) {
		if last = r.Seq; r.Seq > l.at.seq && l.q.fitsHead(&r.Message) {
			found = append(found, r)
		}
	})
	if err != nil {
		l.page.Unreadable++
	}
	for some := range slices.Chunk(found, 256) {
		receipts := l.s.receiptsOfHeld(some)
		for i := range some {
			if l.full() {
				return errPageFull
			}
			if r := receipts[i]; r != nil {
				l.take(&some[i], *r, "")
			}
			l.at.seq = some[i].Seq
		}
	}
	l.at.seq = max(l.at.seq, last)
	return nil
}

// receiptsOfHeld tells of held records where they stand; nil: settled, or a dead
// letter.
func (s *Spool) receiptsOfHeld(found []message.Record) []*message.Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*message.Receipt, len(found))
	for i := range found {
		m := &found[i].Message
		r := message.Receipt{}
		switch e, end, h := s.entries[m.Seq], s.settling[m.Seq], s.holds[m.Seq]; {
		case s.redriven[m.Seq] != nil: // listed with the dead letters
			continue
		case end != nil && end.State == message.StateDead: // its entry may not be there yet
			r = end.Receipt
		case end != nil || s.settled.has(m.Seq) || s.dead[m.Seq] != nil:
			continue
		case e != nil:
			r = e.receipt()
		case h != nil:
			r = acceptedReceipt(m)
			h.tell(&r)
		default:
			r = acceptedReceipt(m)
		}
		out[i] = &r
	}
	return out
}

// walkDead reads the dead letters behind at.
func (l *lister) walkDead() (done bool, err error) {
	prefix, from := deadPrefix, deadKey(l.at.topic, l.at.seq+1)
	if l.q.Topic != "" {
		t := l.s.laneOf(l.q.Topic)
		if t == nil {
			return true, nil
		}
		prefix = key32(deadPrefix, t.id)
	}
	return l.scan(kv.Scan{Prefix: prefix, From: from}, func(k, v []byte) error {
		l.left -= len(v)
		l.at = position{part: listDead, topic: tail32(k, len(deadPrefix)), seq: tail64(k, len(deadPrefix)+4)}
		d, err := decodeDead(v)
		switch {
		case err != nil:
			l.page.Unreadable++
			l.s.notice(nameOf(k))
		case l.q.fitsHead(&d.record.Message):
			l.takeApart(&d)
		}
		return nil
	})
}

// takeApart adds a dead letter, or what it has become since it was read.
func (l *lister) takeApart(d *deadLetter) {
	receipt, reason := l.s.standingApart(d)
	if receipt != nil && (l.q.Cause == "" || l.q.Cause == reason) {
		l.take(&d.record, *receipt, reason)
	}
}

// standingApart is standing for a message whose record is in the entry of a dead
// letter; nil: it has ended.
func (s *Spool) standingApart(d *deadLetter) (r *message.Receipt, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := d.record.Seq
	switch e, end, rd := s.entries[seq], s.settling[seq], s.redriven[seq]; {
	case s.settled.has(seq), end != nil && end.State != message.StateDead:
		return nil, ""
	case end != nil:
		return &end.Receipt, d.reason
	case rd == nil:
		return &d.Receipt, d.reason
	case e != nil:
		r = new(e.receipt())
	default:
		r = new(d.standing(rd, s.holds[seq]))
	}
	return r, ""
}

// take adds a message to the page, if it is asked for.
func (l *lister) take(r *message.Record, receipt message.Receipt, reason string) {
	if !l.q.fitsReceipt(&receipt) || !l.fitsNumber(r.Message) {
		return
	}
	size := heldSize(*r)
	if r.PayloadSize > 0 {
		l.left -= r.PayloadSize
		if err := l.s.fillPayload(l.ctx, r); err != nil {
			if !l.s.isSettled(r.Seq) { // else it has ended since, or has moved
				l.page.Unreadable++
			}
			return
		}
	}
	if !l.q.fitsPayload(&r.Message) {
		return
	}
	m := r.Message
	l.s.withNumber(&m)
	l.s.tellTTL(&m)
	if !l.q.Content {
		m.Body, m.Properties = nil, nil
	}
	l.page.Items = append(l.page.Items, Item{Receipt: receipt, Message: &m, Size: size, Reason: reason, BlockedBy: l.s.blockerOf(&m, receipt.State), TopicPaused: l.s.waitsPaused(&receipt)})
}

// fillPayload reads a payload that is stored apart.
func (s *Spool) fillPayload(ctx context.Context, r *message.Record) error {
	p, err := s.findPayload(*r)
	if err != nil {
		return err
	}
	m, err := s.readPayload(ctx, p)
	if err == nil {
		r.Message = *m
	}
	return err
}

func (q *Query) fitsHead(m *message.Message) bool {
	return (q.upTo == 0 || m.Seq <= q.upTo) && (q.Topic == "" || q.Topic == m.Topic) && (q.Before.IsZero() || m.AcceptedAt.Before(q.Before))
}

func (q *Query) fitsReceipt(r *message.Receipt) bool {
	return (len(q.States) == 0 || slices.Contains(q.States, r.State)) && (!q.OnHold || r.OnHold) && strings.Contains(r.LastError, q.Error)
}

func (q *Query) fitsPayload(m *message.Message) bool {
	return (q.Tag == "" || q.Tag == m.Tag) && (q.Key == "" || slices.Contains(m.Keys, q.Key))
}

func (s *Spool) laneOf(topic string) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[topic]
}

// Find returns a message by its ID: all of it while it is held, else its receipt
// alone. Errors as those of Receipt.
func (s *Spool) Find(ctx context.Context, id message.ID) (Item, error) {
	const tries = 5
	for range tries {
		seq, r, err := s.standing(ctx, id)
		if err != nil || r.State.Settled() {
			return Item{Receipt: r}, err
		}
		item, err := s.findHeld(ctx, seq, r)
		if !errors.Is(err, kv.ErrNotFound) { // else it moved while we read
			return item, err
		}
	}
	return Item{}, ErrNotFound
}

func (s *Spool) findHeld(ctx context.Context, seq uint64, r message.Receipt) (item Item, err error) {
	var rec message.Record
	item.Receipt = r
	if r.State == message.StateDead {
		rec, item.Reason, err = s.deadRecord(seq, r.Topic)
	} else {
		rec, _, err = s.findRecord(seq)
	}
	if err != nil {
		return item, err
	}
	item.Size = heldSize(rec)
	if rec.PayloadSize > 0 {
		err = s.fillPayload(ctx, &rec)
	}
	s.withNumber(&rec.Message)
	s.tellTTL(&rec.Message)
	item.Message, item.BlockedBy, item.TopicPaused = &rec.Message, s.blockerOf(&rec.Message, r.State), s.waitsPaused(&r)
	return item, err
}

func (s *Spool) deadRecord(seq uint64, topic string) (message.Record, string, error) {
	v, err := s.db.Get(deadKey(s.laneOf(topic).id, seq))
	if err != nil {
		return message.Record{}, "", fmt.Errorf("read dead letter: %w", err)
	}
	d, err := decodeDead(v)
	return d.record, d.reason, err
}
