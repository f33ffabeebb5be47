package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// fillers write marks at a time: so many share a commit.
const fillers = 1024

// fillMany makes a spool whose window holds many keys: done, as after a 200.
func (t *trial) fillMany(ctx context.Context) (err error) {
	s, err := built.Start(ctx, t.sidecar, t.many(), "broker.type=embedded")
	if err != nil {
		return err
	}
	if err := s.End(); err != nil {
		return err
	}
	db, err := kv.Open(ctx, kv.Options{Dir: filepath.Join(t.many(), "data", "spool", "db"), Magic: spool.FormatVersion})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()       //nolint:contextcheck // it bounds itself
	store, err := local.Open(db, local.Options{Limit: 4 << 30}) //nolint:contextcheck // it lives until Close
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := fill(ctx, store, t.keys); err != nil {
		return err
	}
	// One that was begun in a bucket of time and done in the next is in both.
	if marks := store.Stats().Marks; marks < int64(t.keys) {
		return fmt.Errorf("%d marks, of %d keys", marks, t.keys)
	}
	return nil
}

func fill(ctx context.Context, store dedupe.Store, keys int) error {
	var written atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	said := time.Now()
	for i := range fillers {
		group.Go(func() error {
			for {
				n := written.Add(1)
				if n > int64(keys) {
					return nil
				}
				if err := markDone(ctx, store, uint64(n)); err != nil {
					return err
				}
				if i == 0 && time.Since(said) > 10*time.Second {
					said = time.Now()
					progressf("%d of %d keys are known", n, keys)
				}
			}
		})
	}
	return group.Wait()
}

// markDone writes both marks of a message, as the gate does.
func markDone(ctx context.Context, store dedupe.Store, n uint64) error {
	key := dedupe.Key{Scope: "embedded/" + topic + "/" + group, Key: fmt.Sprintf("known-%d", n)}
	var effect dedupe.Fingerprint
	binary.BigEndian.PutUint64(effect[:], n)
	m, err := store.Begin(ctx, key, effect, time.Minute)
	if err != nil {
		return err
	}
	if m.Verdict != dedupe.Begun {
		return fmt.Errorf("a new key is %v", m.Verdict)
	}
	return store.Done(ctx, key, m)
}
