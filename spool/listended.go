package spool

import (
	"fmt"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// The parts of a listing, in order.
const (
	listDelayed = iota
	listWaiting
	listDead
	listEnded
)

// position is how far a listing has come: everything up to seq has been seen; of
// the dead letters, everything up to topic and seq; of the receipts, everything
// before the entry of bucket and number, and seq of its own.
type position struct {
	part           int
	topic          uint32
	seq            uint64
	bucket, number uint64
}

func (p position) String() string {
	switch p.part {
	case listDelayed:
		return fmt.Sprintf("t%d", p.seq)
	case listDead:
		return fmt.Sprintf("d%d.%d", p.topic, p.seq)
	case listEnded:
		return fmt.Sprintf("e%d.%d.%d", p.bucket, p.number, p.seq)
	}
	return fmt.Sprintf("q%d", p.seq)
}

func parsePosition(text string) (p position, err error) {
	if text == "" {
		return position{}, nil
	}
	p.part = listWaiting
	switch text[0] {
	case 't':
		p.part = listDelayed
		_, err = fmt.Sscanf(text, "t%d", &p.seq)
	case 'd':
		p.part = listDead
		_, err = fmt.Sscanf(text, "d%d.%d", &p.topic, &p.seq)
	case 'e':
		p.part = listEnded
		_, err = fmt.Sscanf(text, "e%d.%d.%d", &p.bucket, &p.number, &p.seq)
	default:
		_, err = fmt.Sscanf(text, "q%d", &p.seq)
	}
	if err != nil || p.String() != text {
		return position{}, fmt.Errorf("cursor %.40q: %w", text, ErrCursor)
	}
	return p, nil
}

// wants reports whether one part of the walk can have what is asked for.
func (l *lister) wants(part int) bool {
	q, redriven := &l.q, l.s.anyRedriven()
	of := func(s message.State) bool {
		switch {
		case s.Settled():
			return part == listEnded
		case s == message.StateDead:
			return part == listDead
		case s == message.StateDelayed, s == message.StateHalf, s == message.StateUndecided:
			return part == listDelayed
		}
		return part == listWaiting || part == listDead && redriven
	}
	switch {
	case q.Cause != "" && part != listDead, q.OnHold && (part == listEnded || part == listDead && !redriven), part == listEnded && (q.Key != "" || q.Tag != ""):
		return false
	case len(q.States) == 0:
		return part != listEnded
	}
	return slices.ContainsFunc(q.States, of)
}

// walk reads a part in a view of its own; done: it came to the end.
func (l *lister) walk(part func() (bool, error)) (done bool, err error) {
	err = l.s.db.Snapshot(func(r kv.Reader) (err error) {
		l.r = r
		done, err = part()
		return err
	})
	return done, err
}

// walkEnded reads the receipts behind at.
func (l *lister) walkEnded() (done bool, err error) {
	return l.scan(kv.Scan{Prefix: receiptPrefix, From: receiptKey(l.at.bucket, l.at.number, 0)}, func(k, v []byte) error {
		at := position{part: listEnded, bucket: tail64(k, 2), number: tail64(k, 10)}
		seen := uint64(0)
		if l.at.bucket == at.bucket && l.at.number == at.number {
			seen = l.at.seq
		}
		l.left -= len(v)
		full := false
		err := receipts(v, func(r receipt) bool {
			if at.seq++; at.seq <= seen {
				return true
			}
			if full = l.full(); full {
				return false
			}
			l.at = at
			l.takeEnded(&r.Receipt)
			return true
		})
		if err != nil {
			l.page.Unreadable++
		}
		if full {
			return errPageFull
		}
		at.seq = max(at.seq, seen)
		l.at = at // also where nothing of it can be read
		return nil
	})
}

func (l *lister) takeEnded(r *message.Receipt) {
	q := &l.q
	if q.fitsReceipt(r) && q.Numbers.have(r.ID, r.TopicSeq) && (q.Topic == "" || q.Topic == r.Topic) && (q.Before.IsZero() || r.AcceptedAt.Before(q.Before)) {
		l.page.Items = append(l.page.Items, Item{Receipt: *r})
	}
}
