package spool

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// The head lists the keys under which something may lie in the database, with
// the zero ID for what is plain. While it names others than the current one, open
// counts what is left of each. Before the database was opened, Admits (needkeys.go)
// has refused what lacks a key.

// findKeys refuses a ring that lacks a key of some entry, and notes which keys
// are still in use.
func (s *Spool) findKeys() error {
	current := s.db.ring.Current()
	found := map[keyring.ID]int{}
	if s.headLost() || slices.ContainsFunc(s.head.keys, func(id keyring.ID) bool { return id != current }) {
		var err error
		if found, err = s.countKeys(); err != nil {
			return fmt.Errorf("look for the keys in use: %w", err)
		}
	}
	for id, n := range found {
		if id != (keyring.ID{}) && !slices.Contains(s.db.ring.IDs(), id) {
			return fmt.Errorf("%d entries: %w", n, &keyring.MissingError{ID: id})
		}
	}
	delete(found, current)
	s.older = found
	s.head.keys = append([]keyring.ID{current}, slices.SortedFunc(maps.Keys(found), keyring.ID.Compare)...)
	return nil
}

// countKeys counts the entries of each key, by reading the whole spool.
func (s *Spool) countKeys() (map[keyring.ID]int, error) {
	found := map[keyring.ID]int{}
	err := s.db.DB.Scan(kv.Scan{Prefix: everyPrefix, Whole: true}, func(k, v []byte) (bool, error) {
		if id, ok := keyOf(k, v); ok && encrypted(k) {
			found[id]++
		}
		return true, nil
	})
	return found, err
}

// OlderKeys are the keys, beside the current one, under which entries lay when
// the spool was opened, and how many. The zero ID counts those that are plain.
func (s *Spool) OlderKeys() map[keyring.ID]int { return maps.Clone(s.older) }

// renewEntries writes the entries that no drain and no retention ends under the
// current key: topics, bitmaps, marks of single messages, and delayed messages and
// dead letters with their payloads.
func (s *Spool) renewEntries(ctx context.Context) error {
	if len(s.older) == 0 {
		return nil
	}
	s.opts.Logger.Info("entries of other keys than the current one are left; they are read until they are drained",
		"current_key", s.db.ring.Current().String(), "entries", s.olderText())
	r := &renewal{}
	for _, prefix := range [][]byte{topicPrefix, bitmapPrefix, deadPrefix, againPrefix, delayedPrefix, duePrefix, holdPrefix, importPrefix, endedPrefix, damagePrefix, bindPrefix, pausePrefix, transactionPrefix, namePrefix, secretKey} {
		if err := s.renew(ctx, r, prefix); err != nil {
			return err
		}
	}
	for _, seq := range slices.AppendSeq(slices.Collect(maps.Keys(s.dead)), maps.Keys(s.redriven)) {
		if err := s.renewPayload(ctx, r, seq); err != nil {
			return err
		}
	}
	err := s.scan(kv.Scan{Prefix: delayedPrefix, KeysOnly: true}, func(k, _ []byte) error {
		return s.renewPayload(ctx, r, tail64(k, len(delayedPrefix)))
	})
	if err != nil {
		return err
	}
	return s.flushRenewal(ctx, r)
}

func (s *Spool) olderText() (all []string) {
	for id, n := range s.older {
		name := "key " + id.String()
		if id == (keyring.ID{}) {
			name = "plain"
		}
		all = append(all, fmt.Sprintf("%s: %d", name, n))
	}
	slices.Sort(all)
	return all
}

// renewal writes plain values anew. Nothing else may change them meanwhile.
type renewal struct {
	sets  []pair
	bytes int
}

func (r *renewal) size() int       { return fixedSize + r.bytes }
func (r *renewal) apply(c *commit) { c.sets = append(c.sets, r.sets...) }
func (*renewal) synced(*Spool)     {}

// addRenewal adds p, and writes what stands before it where both are too much for one
// operation.
func (s *Spool) addRenewal(ctx context.Context, r *renewal, p pair) error {
	size := len(p.key) + len(p.value) + valueOverhead
	if r.bytes > 0 && r.bytes+size > s.sizes.op {
		if err := s.flushRenewal(ctx, r); err != nil {
			return err
		}
	}
	r.sets = append(r.sets, p)
	r.bytes += size
	return nil
}

// renew adds the entries of a prefix.
func (s *Spool) renew(ctx context.Context, r *renewal, prefix []byte) error {
	for p, err := range s.db.pairs(kv.Scan{Prefix: prefix}) {
		if err != nil {
			return err
		}
		if p.value == nil { // it is damaged
			continue
		}
		if err := s.addRenewal(ctx, r, p); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) flushRenewal(ctx context.Context, r *renewal) error {
	if r.bytes == 0 {
		return nil
	}
	op := *r
	*r = renewal{}
	if err := s.commit(ctx, &op); err != nil {
		return fmt.Errorf("write entries under the current key: %w", err)
	}
	return nil
}

// renewPayload adds the chunks of a payload that is stored apart, if seq has one.
func (s *Spool) renewPayload(ctx context.Context, r *renewal, seq uint64) error {
	p, err := s.findPayload(message.Record{Message: message.Message{Seq: seq}})
	if err != nil {
		return nil //nolint:nilerr // it has none, or it is damaged and stays as it is
	}
	for _, key := range append([][]byte{chunkSetKey(seq)}, p.keys()...) {
		v, err := s.db.Get(key)
		if err != nil || v == nil {
			continue
		}
		if err := s.addRenewal(ctx, r, pair{key, v}); err != nil {
			return err
		}
	}
	return nil
}
