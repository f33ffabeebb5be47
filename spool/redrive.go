package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
)

// redriven is a dead letter that an operator made pending again. Its record
// stays in the entry of the dead letter, sd; beside it an entry sa says that it
// is pending. So redriving writes no body, and a lost sa leaves a dead letter.
type redriven struct {
	lane *lane
	at   time.Time
}

// Redrive makes dead letters pending again, at their place by sequence: before
// what is pending in their topic, one at a time with it of each ordering key.
// Later messages of their key may have been confirmed meanwhile; the history
// says so. Attempts count from one again.
//
// When it returns, those in done are pending on stable storage, also when it
// returns an error; without one, all are that are not in refused. A crash before
// that leaves each of them redriven or not. refused says why: ErrNotFound,
// ErrWrongState of one that is no dead letter, or what makes it unreadable. Other
// errors are those of a commit; calling again does the rest. One that is named
// twice is redriven once. Once begun it does not end with ctx.
func (s *Spool) Redrive(ctx context.Context, ids []message.ID) (done []message.ID, refused map[message.ID]error, err error) {
	refused = map[message.ID]error{}
	letters, err := s.letters(ctx, ids, refused)
	if err != nil {
		return nil, refused, fmt.Errorf("redrive: %w", err)
	}
	for _, op := range s.redrives(letters) {
		if err := s.commit(context.WithoutCancel(ctx), op); err != nil {
			return done, refused, fmt.Errorf("redrive: %w", err)
		}
		for _, d := range op.letters {
			if slices.Contains(op.refused, d.ID) {
				refused[d.ID] = errNotDead
			} else {
				done = append(done, d.ID)
			}
		}
	}
	return done, refused, nil
}

var errNotDead = fmt.Errorf("%w: it is no dead letter any more", ErrWrongState)

// letters reads dead letters, and notes in refused which of them are none.
func (s *Spool) letters(ctx context.Context, ids []message.ID, refused map[message.ID]error) (all []*deadLetter, err error) {
	if err := s.over(ctx); err != nil {
		return nil, err
	}
	seen := map[message.ID]bool{}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		d, err := s.letter(ctx, id)
		switch {
		case err == nil:
			all = append(all, d)
		case ctx.Err() != nil || s.db.Err() != nil || s.closed():
			return nil, err
		default:
			refused[id] = err
		}
	}
	return all, nil
}

// letter reads the dead letter of an ID.
func (s *Spool) letter(ctx context.Context, id message.ID) (*deadLetter, error) {
	seq, r, err := s.standing(ctx, id)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	l := s.dead[seq]
	s.mu.Unlock()
	if l == nil {
		return nil, wrongState(r.State)
	}
	d, err := s.readLetter(l, seq)
	return &d, err
}

// redrives cuts letters into operations of a bounded size.
func (s *Spool) redrives(letters []*deadLetter) (ops []*redrive) {
	for _, d := range letters {
		n := len(ops)
		if n == 0 || ops[n-1].size()+redriveSize > s.sizes.op {
			ops, n = append(ops, &redrive{}), n+1
		}
		ops[n-1].letters = append(ops[n-1].letters, d)
	}
	return ops
}

// redrive writes the entries of some redriven dead letters.
type redrive struct {
	letters []*deadLetter
	done    []uint64
	refused []message.ID // are no dead letters any more
}

// redriveSize bounds what one letter writes: its entry, and maybe that of a topic.
const redriveSize = topicSize + 64 + valueOverhead

func (op *redrive) size() int { return fixedSize + len(op.letters)*redriveSize }

func (op *redrive) apply(c *commit) {
	s := c.s
	for _, d := range op.letters {
		seq := d.record.Seq
		l := s.dead[seq]
		if l == nil || s.settled.has(seq) {
			op.refused = append(op.refused, d.ID)
			continue
		}
		c.needs(2) // an older version would forward none of them
		rd := &redriven{lane: l, at: c.now}
		delete(s.dead, seq)
		s.redriven[seq] = rd
		l.counts.dead--
		l.attempted = max(l.attempted, seq)
		c.touch(l)
		key := againKey(l.id, seq)
		c.deletes = slices.DeleteFunc(c.deletes, func(k []byte) bool { return bytes.Equal(k, key) }) // it may have died again in this very commit
		c.sets = append(c.sets, pair{key, rd.encode()})
		op.done = append(op.done, seq)
	}
}

// synced lets the lanes bring them in.
func (op *redrive) synced(s *Spool) {
	s.forgetRedrives()
	for _, seq := range op.done {
		rd := s.redriven[seq]
		if rd == nil { // settled in this very commit
			continue
		}
		rd.lane.again = append(rd.lane.again, seq)
		s.byRedrive = append(s.byRedrive, redriveAt{seq, rd})
		s.announce(rd.lane)
		rd.lane.ready.raise()
	}
}

func (rd *redriven) encode() []byte {
	return seal(binary.AppendUvarint(nil, uint64(max(rd.at.UnixMilli(), 0))))
}

// decodeRedriven returns at least that it was, also with an error.
func decodeRedriven(v []byte) (*redriven, error) {
	b, err := unseal(v)
	if err != nil {
		return &redriven{at: time.UnixMilli(0)}, fmt.Errorf("read redrive: %w", err)
	}
	f := fields{b: b}
	rd := &redriven{at: f.time()}
	return rd, f.err("read redrive")
}

// loadRedriven tells the dead letters that are pending again from the others. Of
// a damaged entry its key says all that counts.
func (s *Spool) loadRedriven() error {
	err := s.scanAll(againPrefix, func(k, v []byte) error {
		rd, err := decodeRedriven(v)
		if isNewer(err) {
			return err
		}
		seq := tail64(k, len(againPrefix)+4)
		if s.settled.has(seq) { // its deletion is lost
			return nil
		}
		rd.lane = s.byID[tail32(k, len(againPrefix))]
		if rd.lane == nil || s.dead[seq] != rd.lane {
			return errNoLetter
		}
		delete(s.dead, seq)
		s.redriven[seq] = rd
		return err
	})
	s.queueRedriven()
	return err
}

var errNoLetter = fmt.Errorf("there is no dead letter of it: %w", errDamaged)

// redrivenOf returns what is known of a message that was redriven, nil: it was not.
func (s *Spool) redrivenOf(seq uint64) *redriven {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redriven[seq]
}

func (s *Spool) anyRedriven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.redriven) > 0
}

// apart reports whether the record of a held message is not in its block, but in
// the entry of a dead letter. s.mu is held.
func (s *Spool) apart(seq uint64) bool { return s.dead[seq] != nil || s.redriven[seq] != nil }
