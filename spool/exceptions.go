package spool

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Exception is a number of a topic that ended otherwise than confirmed, or is a
// dead letter now: who looks for gaps at the other end subtracts it.
type Exception struct {
	Origin   message.SpoolID
	TopicSeq uint64 // 0: not known, of a message that was lost with its number
	ID       message.ID
	State    message.State // cancelled, rolled_back, discarded, lost; dead while it is one
	At       time.Time

	seq uint64
}

// exceptionEnds are the states that end a number without a confirmation.
var exceptionEnds = [...]message.State{
	message.StateCancelled, message.StateRolledBack, message.StateDiscarded, message.StateLost,
}

// except notes that a message ended otherwise than confirmed. One that never was
// pending has no number and is missed by nobody.
func (c *commit) except(e *ending) {
	if !slices.Contains(exceptionEnds[:], e.State) || e.number == 0 && e.State != message.StateLost {
		return
	}
	c.exceptions[e.lane] = append(c.exceptions[e.lane], Exception{
		Origin: e.ID.Spool(), TopicSeq: e.number, ID: e.ID, State: e.State, At: e.SettledAt, seq: e.seq,
	})
}

// exceptionsPerEntry keeps an entry far below the largest value.
const exceptionsPerEntry = 1024

// sealExceptions encodes those of this commit, a topic an entry.
func (c *commit) sealExceptions() {
	x := &c.s.excepted
	for l, all := range c.exceptions {
		for part := range slices.Chunk(all, exceptionsPerEntry) {
			x.part++
			hour := hourOf(c.at)
			x.hours[hour] = true
			l.exceptions += uint64(len(part))
			c.sets = append(c.sets, pair{exceptionKey(hour, l.id, x.part, len(part)), encodeExceptions(part)})
		}
	}
}

// exceptionIndex knows in which hours there are any.
type exceptionIndex struct {
	hours map[uint64]bool
	part  uint64 // makes the next entry's key unique, and later than all before
}

func encodeExceptions(all []Exception) []byte {
	b := make([]byte, 0, len(all)*48+4)
	for _, e := range all {
		b = append(b, byte(e.State))
		b = append(b, e.ID[:]...)
		b = binary.AppendUvarint(b, e.seq)
		b = binary.AppendUvarint(b, e.TopicSeq)
		b = binary.AppendUvarint(b, uint64(e.At.UnixMilli()))
	}
	return seal(b)
}

func decodeExceptions(v []byte) (all []Exception, err error) {
	b, err := unseal(v)
	if err != nil {
		return nil, fmt.Errorf("read exceptions: %w", err)
	}
	f := fields{b: b}
	for len(f.b) > 0 {
		e := Exception{State: message.State(f.raw(1)[0])}
		copy(e.ID[:], f.raw(len(e.ID)))
		e.seq, e.TopicSeq, e.At = f.uint(), f.uint(), f.time()
		e.Origin = e.ID.Spool()
		all = append(all, e)
	}
	return all, f.err("read exceptions")
}

// loadExceptions finds the hours by hopping from one to the next.
func (s *Spool) loadExceptions() error {
	s.excepted = exceptionIndex{hours: map[uint64]bool{}, part: s.db.Epoch() << 32}
	for from, more := uint64(0), true; more; {
		more = false
		err := s.db.Scan(kv.Scan{Prefix: exceptPrefix, From: key64(exceptPrefix, from), KeysOnly: true, Whole: true}, func(k, _ []byte) (bool, error) {
			if len(k) < len(exceptPrefix)+8 { // the books read all of them
				s.doubt(k, nil, errDamaged)
				return true, nil
			}
			hour := tail64(k, len(exceptPrefix))
			s.excepted.hours[hour] = true
			from, more = hour+1, true
			return false, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expireExceptions drops the hours that are older than LedgerKeep.
func (s *Spool) expireExceptions() error {
	oldest := hourOf(s.clock.time().Add(-s.opts.LedgerKeep))
	s.mu.Lock()
	held := s.clockHeld()
	s.mu.Unlock()
	for _, hour := range s.exceptionHours() {
		if hour >= oldest || held {
			break
		}
		if err := s.dropExceptions(hour); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) exceptionHours() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.excepted.hours))
}

func (s *Spool) dropExceptions(hour uint64) error {
	var keys [][]byte
	err := s.db.Scan(kv.Scan{Prefix: key64(exceptPrefix, hour), KeysOnly: true}, func(k, _ []byte) (bool, error) {
		if fits(k) {
			keys = append(keys, slices.Clone(k))
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	const some = 256 // each may be of a topic of its own
	for len(keys) > some {
		if err := s.commit(s.life, &dropExceptions{keys: keys[:some]}); err != nil {
			return err
		}
		keys = keys[some:]
	}
	return s.commit(s.life, &dropExceptions{keys: keys, done: hour})
}

// dropExceptions ends the retention of some entries; done is an hour of which
// nothing is left, 0: there is more of it.
type dropExceptions struct {
	keys [][]byte
	done uint64
}

func (d *dropExceptions) size() int { return fixedSize * (1 + len(d.keys)) }

func (d *dropExceptions) apply(c *commit) {
	for _, k := range d.keys {
		c.deletes = append(c.deletes, k)
		if l := c.s.byID[tail32(k, len(exceptPrefix)+8)]; l != nil {
			l.exceptions -= uint64(exceptionCount(k))
			c.touch(l)
		}
	}
	if d.done > 0 {
		delete(c.s.excepted.hours, d.done)
	}
}

func (d *dropExceptions) synced(*Spool) {}

// exceptionCount is what the key says of how many an entry has.
func exceptionCount(k []byte) int { return int(binary.BigEndian.Uint16(k[len(k)-2:])) }

// Exceptions is a part of the exceptions of a topic.
type Exceptions struct {
	Origins []Origin // the spool IDs under which messages were numbered, the newest last
	Since   time.Time
	Items   []Exception
	Next    string // cursor of what follows; "": nothing
}

// exceptionCursor is a place in the list: the dead letters come first, by
// sequence, then what has ended, by time. So a dead letter that is discarded
// meanwhile is listed twice, and never missed.
type exceptionCursor struct {
	ended bool
	seq   uint64 // dead: the next sequence
	hour  uint64 // ended: the next entry, and how many of it were listed
	part  uint64
	skip  uint64
}

func (c exceptionCursor) String() string {
	b := make([]byte, 1, 40)
	if c.ended {
		b[0] = 1
	}
	for _, n := range [...]uint64{c.seq, c.hour, c.part, c.skip} {
		b = binary.AppendUvarint(b, n)
	}
	return hex.EncodeToString(b)
}

func parseExceptionCursor(text string) (c exceptionCursor, err error) {
	if text == "" {
		return c, nil
	}
	b, err := hex.DecodeString(text)
	f := fields{b: b}
	c.ended = f.raw(1)[0] == 1
	c.seq, c.hour, c.part, c.skip = f.uint(), f.uint(), f.uint(), f.uint()
	if err != nil || f.failed || len(f.b) > 0 {
		return c, ErrCursor
	}
	return c, nil
}

// Exceptions lists up to limit numbers of a topic from cursor on ("": the
// first): dead letters, and what ended otherwise than confirmed, for LedgerKeep.
// An ending is listed from the moment on that it is on stable storage. Errors:
// ErrNotFound, ErrCursor.
func (s *Spool) Exceptions(ctx context.Context, topic, cursor string, limit int) (Exceptions, error) {
	at, err := parseExceptionCursor(cursor)
	if err != nil {
		return Exceptions{}, err
	}
	s.mu.Lock()
	l := s.lanes[topic]
	var out Exceptions
	if l != nil {
		out.Origins = slices.Clone(l.numbers.origins)
	}
	s.mu.Unlock()
	if l == nil {
		return out, ErrNotFound
	}
	out.Since = s.now().Add(-s.opts.LedgerKeep)
	list := &exceptionList{s: s, ctx: ctx, lane: l, limit: max(limit, 1), out: &out}
	if !at.ended {
		if err := list.dead(at); err != nil || out.Next != "" {
			return out, err
		}
		at = exceptionCursor{ended: true}
	}
	return out, list.ended(at)
}

type exceptionList struct {
	s     *Spool
	ctx   context.Context //nolint:containedctx // lives as long as one call
	lane  *lane
	limit int
	out   *Exceptions
}

func (x *exceptionList) full() bool { return len(x.out.Items) == x.limit }

func (x *exceptionList) dead(at exceptionCursor) error {
	prefix := key32(deadPrefix, x.lane.id)
	return x.s.db.Scan(kv.Scan{Prefix: prefix, From: deadKey(x.lane.id, at.seq)}, func(k, v []byte) (bool, error) {
		if x.full() {
			x.out.Next = exceptionCursor{seq: tail64(k, len(prefix))}.String()
			return false, nil
		}
		if d, err := decodeDead(v); err == nil && x.s.redrivenOf(tail64(k, len(prefix))) == nil { // a damaged one is named by an audit
			x.s.withNumber(&d.record.Message)
			x.out.Items = append(x.out.Items, Exception{
				Origin: d.ID.Spool(), TopicSeq: d.record.TopicSeq, ID: d.ID, State: message.StateDead, At: d.buriedAt(), seq: d.seq,
			})
		}
		return true, x.ctx.Err()
	})
}

// buriedAt is the time of the last event: a dead letter has none after it.
func (d *deadLetter) buriedAt() time.Time {
	if events := d.History.Events(); len(events) > 0 {
		return events[len(events)-1].At
	}
	return d.AcceptedAt
}

func (x *exceptionList) ended(at exceptionCursor) error {
	for _, hour := range x.s.exceptionHours() {
		if hour < at.hour {
			continue
		}
		if hour > at.hour {
			at.part, at.skip = 0, 0
		}
		if err := x.endedIn(hour, at); err != nil || x.out.Next != "" {
			return err
		}
	}
	return nil
}

func (x *exceptionList) endedIn(hour uint64, at exceptionCursor) error {
	prefix := key32(key64(exceptPrefix, hour), x.lane.id)
	from := binary.BigEndian.AppendUint64(slices.Clone(prefix), at.part)
	return x.s.db.Scan(kv.Scan{Prefix: prefix, From: from}, func(k, v []byte) (bool, error) {
		all, err := decodeExceptions(v)
		if err != nil || !fits(k) { // it stops no other
			x.s.notice(nameOf(k))
			return true, x.ctx.Err()
		}
		part := tail64(k, len(prefix))
		skip := 0
		if part == at.part {
			skip = int(min(at.skip, uint64(len(all))))
		}
		n := min(len(all)-skip, x.limit-len(x.out.Items))
		x.out.Items = append(x.out.Items, all[skip:skip+n]...)
		if skip+n < len(all) {
			x.out.Next = exceptionCursor{ended: true, hour: hour, part: part, skip: uint64(skip + n)}.String()
		}
		return x.out.Next == "", x.ctx.Err()
	})
}
