package spool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// keysOfHeld are the idempotency keys of held messages, by sequence: 32 bytes for
// each, while an export is being written.
type keysOfHeld []heldKey

type heldKey struct {
	seq uint64
	key exportedKey
}

// heldKeys reads the keys of what is held. Of what was accepted before it is
// called, all are found: a key is written with its message.
func (s *Spool) heldKeys(ctx context.Context) (all keysOfHeld, err error) {
	err = s.eachKey(ctx, func(k keptSince) error {
		if !k.settled {
			all = append(all, heldKey{k.ref.seq, k.exported()})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b heldKey) int { return cmp.Compare(a.seq, b.seq) })
	return slices.CompactFunc(all, func(a, b heldKey) bool { return a.seq == b.seq }), err
}

// of returns the key of a message; nil: it has none.
func (all keysOfHeld) of(seq uint64) *exportedKey {
	i, found := slices.BinarySearchFunc(all, seq, func(k heldKey, seq uint64) int { return cmp.Compare(k.seq, seq) })
	if !found {
		return nil
	}
	return &all[i].key
}

// settledKeys calls fn with the key of each message that is settled.
func (s *Spool) settledKeys(ctx context.Context, fn func(*settledKey) error) error {
	return s.eachKey(ctx, func(k keptSince) error {
		if !k.settled {
			return nil
		}
		state := message.StateConfirmed
		if k.ended {
			state = s.endOf(k.ref.seq)
		}
		return fn(&settledKey{k.exported(), k.ref.id, state, k.ref.time().UTC(), timeOfHour(k.hour).Add(s.now().Sub(s.clock.time())).Truncate(time.Millisecond)})
	})
}

// endOf is how a message ended whose key is refused. When that cannot be read
// any more, it is refused as well.
func (s *Spool) endOf(seq uint64) message.State {
	v, err := s.db.Get(endedKey(seq))
	if err == nil {
		v, err = unseal(v)
	}
	if err == nil && len(v) == 1 && message.State(v[0]) == message.StateDiscarded {
		return message.StateDiscarded
	}
	return message.StateCancelled
}

// keptSince is a key that counts, in the entry that it counts by.
type keptSince struct {
	keyEntry

	hour           uint64
	settled, ended bool
}

func (k *keptSince) exported() exportedKey {
	return exportedKey{k.hash, fingerprintText(k.ref.fingerprint)}
}

// eachKey calls fn with the keys that count. One that is moved meanwhile may come twice.
func (s *Spool) eachKey(ctx context.Context, fn func(keptSince) error) error {
	for p, err := range s.db.pairs(kv.Scan{Prefix: keyPrefix, Whole: true}) {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return fmt.Errorf("read idempotency keys: %w", err)
		}
		keys, err := decodeKeys(p.value)
		if err != nil { // the next opening drops it
			s.notice(nameOf(p.key))
			continue
		}
		for _, k := range s.counting(keys, tail64(p.key, len(keyPrefix))) {
			if err := fn(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// counting are those of an entry's keys that no later entry has.
func (s *Spool) counting(keys []keyEntry, hour uint64) (some []keptSince) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		if seq := k.ref.seq; s.keys.has(seq) {
			settled := elsewhere(seq) || s.settled.has(seq)
			some = append(some, keptSince{k, hour, settled, s.ended[seq]})
		}
	}
	return some
}
