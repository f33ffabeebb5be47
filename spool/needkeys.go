package spool

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// Which keys are needed is known before the database is opened: under a wrong one a
// salvage would give up what the right one reads, and the head with it.
//
// The note in HEAD lists the keys under which something may lie. If all of them are in
// the ring, nothing else is read. If one is not, or there is no list, every entry is
// read: a box names its key in plain, under a checksum of its own.

// Admits implements kv.Owner: it refuses a ring that lacks a key that is needed. The note
// that it returns lists the current key before anything is written under it.
func (o owner) Admits(ctx context.Context, c *kv.Closed) ([]byte, error) {
	n, ok := decodeNote(c.Noted())
	if !ok {
		n.keys = nil
	}
	if n.keys == nil || o.lacking(n.keys) != nil {
		if err := o.searchKeys(ctx, c, n.keys); err != nil {
			return nil, err
		}
	}
	current := o.ring.Current()
	if n.keys == nil || slices.Contains(n.keys, current) {
		return nil, nil
	}
	n.keys = append(n.keys, current)
	return n.encode(), nil
}

// lacking is the first of some keys that is not in the ring; nil: all are.
func (o owner) lacking(keys []keyring.ID) error {
	for _, id := range keys {
		if !o.has(id) {
			return &keyring.MissingError{ID: id}
		}
	}
	return nil
}

func (o owner) has(id keyring.ID) bool {
	return id == keyring.ID{} || slices.Contains(o.ring.IDs(), id)
}

// searchKeys returns a *keyring.MissingError, if an entry needs a key that is not in the
// ring, or may: it is listed, and not all can be read. listed nil: it is not known.
func (o owner) searchKeys(ctx context.Context, c *kv.Closed, listed []keyring.ID) error {
	for skip, more := 0, true; more; skip += maxSuspects {
		s := &keySearch{owner: o, listed: listed, skip: skip, suspects: map[uint64]suspect{}, seed: maphash.MakeSeed()}
		if err := s.look(ctx, c); err != nil {
			return fmt.Errorf("look for the keys in use: %w", err)
		}
		for _, found := range s.suspects {
			return &keyring.MissingError{ID: found.id}
		}
		if more = s.seen > skip+maxSuspects; !more && listed == nil {
			listed = s.head
		}
	}
	missing := o.lacking(listed)
	if missing == nil {
		return nil
	}
	damaged, err := c.Damaged()
	if err == nil && damaged {
		err = missing
	}
	return err
}

// maxSuspects bounds the memory of a search, some 20 MiB.
const maxSuspects = 1 << 18

// keySearch looks for entries under keys that are not in the ring. What was deleted or
// overwritten since may still be in a table, and needs no key.
type keySearch struct {
	owner
	listed   []keyring.ID // others are not in use; nil: not known
	skip     int          // suspects that were looked at before
	seen     int
	suspects map[uint64]suspect // by the hash of their keys
	seed     maphash.Seed

	head   []keyring.ID // of the newest head
	headAt uint64       // its version
}

type suspect struct {
	version uint64
	id      keyring.ID
}

// look reads all entries, and once more if some are suspect.
func (s *keySearch) look(ctx context.Context, c *kv.Closed) error {
	if err := c.Entries(ctx, s.collect); err != nil || len(s.suspects) == 0 {
		return err
	}
	for hash, found := range s.suspects { // the head lists all keys up to its version
		if s.head != nil && found.version <= s.headAt && !slices.Contains(s.head, found.id) {
			delete(s.suspects, hash)
		}
	}
	if len(s.suspects) == 0 {
		return nil
	}
	return c.Entries(ctx, s.dismiss)
}

// suspected reports that an entry is encrypted under a key that is not in the ring.
func (s *keySearch) suspected(e kv.Entry) (id keyring.ID, yes bool) {
	if e.Deleted || !isOurs(e.Key) || !encrypted(e.Key) {
		return id, false
	}
	id, ok := keyOf(e.Key, e.Value)
	return id, ok && !s.has(id) && (s.listed == nil || slices.Contains(s.listed, id))
}

func (s *keySearch) collect(e kv.Entry) error {
	s.noteHead(e)
	id, yes := s.suspected(e)
	if !yes {
		return nil
	}
	if s.seen++; s.seen <= s.skip || s.seen > s.skip+maxSuspects {
		return nil
	}
	hash := maphash.Bytes(s.seed, e.Key)
	if known, ok := s.suspects[hash]; !ok || known.version < e.Version {
		s.suspects[hash] = suspect{e.Version, id}
	}
	return nil
}

// noteHead keeps the keys of the newest head. Of commits that share a version all count.
func (s *keySearch) noteHead(e kv.Entry) {
	if !e.Whole || e.Deleted || string(e.Key) != string(headKey) || e.Version < s.headAt {
		return
	}
	h, err := decodeHead(e.Value)
	if err != nil || len(h.keys) == 0 {
		return
	}
	if e.Version > s.headAt {
		s.head, s.headAt = nil, e.Version
	}
	for _, id := range h.keys {
		if !slices.Contains(s.head, id) {
			s.head = append(s.head, id)
		}
	}
}

// dismiss forgets what a newer version hides. Of the same version it is what is not
// suspect itself.
func (s *keySearch) dismiss(e kv.Entry) error {
	if !e.Whole {
		return nil
	}
	hash := maphash.Bytes(s.seed, e.Key)
	found, ok := s.suspects[hash]
	if !ok || e.Version < found.version {
		return nil
	}
	if _, yes := s.suspected(e); e.Version > found.version || !yes {
		delete(s.suspects, hash)
	}
	return nil
}
