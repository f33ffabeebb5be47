package spool

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// candidates are the blocks that may have a message of the filter, in order.
func (r *resend) candidates(ctx context.Context) (all []resendBlock, err error) {
	if len(r.filter.IDs) > 0 {
		all, err = r.byID()
	} else if topic, known := r.topic(); known {
		all, err = r.kept(ctx, topic)
		if err == nil {
			var more []resendBlock
			more, err = r.partly(ctx, topic)
			all = append(all, more...)
		}
	}
	slices.SortFunc(all, func(a, b resendBlock) int { return cmp.Compare(a.firstSeq, b.firstSeq) })
	return slices.Compact(all), err
}

func (r *resend) byID() (all []resendBlock, err error) {
	r.found = map[message.ID]bool{}
	for _, id := range r.filter.IDs {
		r.found[id] = false
		l, firstSeq, err := r.s.findBlock(r.s.seqOf(id))
		switch {
		case errors.Is(err, kv.ErrNotFound):
		case err != nil:
			return nil, err
		case l != nil:
			all = append(all, resendBlock{l.id, firstSeq})
		}
	}
	return all, nil
}

// topic is the number of the filter's topic, 0: any.
func (r *resend) topic() (id uint32, known bool) {
	if r.filter.Topic == "" {
		return 0, true
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	l := r.s.lanes[r.filter.Topic]
	if l == nil {
		return 0, false
	}
	return l.id, true
}

// kept are the blocks of which all has ended, and that have an entry for it.
func (r *resend) kept(ctx context.Context, topic uint32) (all []resendBlock, err error) {
	since := uint64(0)
	if !r.filter.Since.IsZero() {
		since = nanos(r.filter.Since.Add(-retainedEvery))
	}
	err = r.s.db.Scan(kv.Scan{Prefix: retainPrefix, From: key64(retainPrefix, since), KeysOnly: true}, func(k, _ []byte) (bool, error) {
		x, err := decodeRetained(k, nil)
		if err == nil && x.kind == retainedBlock && (topic == 0 || x.topic == topic) {
			all = append(all, resendBlock{x.topic, x.seq})
		}
		return true, cmp.Or(err, ctx.Err())
	})
	return all, err
}

// partly are the blocks that have no such entry and of which some has ended:
// others are held, or a lane has yet to come by. When it ended is not known.
func (r *resend) partly(ctx context.Context, topic uint32) (all []resendBlock, err error) {
	from, ranges := r.unkept(topic)
	for more := true; more; {
		more = false
		err = r.s.db.Scan(kv.Scan{Prefix: indexPrefix, From: indexKey(from)}, func(k, v []byte) (bool, error) {
			if !fits(k) {
				return true, nil
			}
			first := tail64(k, len(indexPrefix))
			next, found := hop(ranges, first)
			if !found || next > first {
				from, more = next, found
				return false, nil
			}
			x, err := decodeIndex(v)
			switch {
			case err != nil: // it stops no other
				r.s.notice(nameOf(k))
			case (topic == 0 || x.topic == topic) && r.someEnded(x, first):
				all = append(all, resendBlock{x.topic, first})
			}
			return true, ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// unkept returns where the first block can begin that no lane has passed, and
// the ranges that have settled messages from there on, in order.
func (r *resend) unkept(topic uint32) (from uint64, ranges []uint64) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	from = s.head.highWater
	for id, l := range s.byID {
		if topic == 0 || id == topic {
			from = min(from, l.cursor)
		}
	}
	for rng := from >> bitmapShift; rng < s.settled.low; rng++ {
		ranges = append(ranges, rng)
	}
	for _, rng := range slices.Sorted(maps.Keys(s.settled.ranges)) {
		if rng >= s.settled.low && s.settled.ranges[rng].count > 0 {
			ranges = append(ranges, rng)
		}
	}
	return from, ranges
}

// hop returns from where on to look for a block with settled messages: no block
// between there and first reaches into one of the ranges. false: there is none.
func hop(ranges []uint64, first uint64) (next uint64, found bool) {
	i, _ := slices.BinarySearch(ranges, first>>bitmapShift)
	if i == len(ranges) {
		return 0, false
	}
	begin := ranges[i] << bitmapShift
	return max(first, begin-min(begin, maxBlockCount)), true
}

// someEnded reports whether a block, which is not kept, has a message that may
// have been confirmed.
func (r *resend) someEnded(x index, first uint64) bool {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retained.blocks.has(first) {
		return false
	}
	for seq := first; seq < first+uint64(x.count); seq++ {
		if s.settled.has(seq) && !s.retained.barred.has(seq) {
			return true
		}
	}
	return false
}
