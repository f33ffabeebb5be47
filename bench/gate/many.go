package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

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
	if err := store.Fill(ctx, known(t.keys)); err != nil {
		return err
	}
	if marks := store.Stats().Marks; marks != int64(t.keys) {
		return fmt.Errorf("%d marks, of %d keys", marks, t.keys)
	}
	return nil
}

// known are so many keys of the subscription, and what each was done for.
func known(keys int) iter.Seq2[dedupe.Key, dedupe.Fingerprint] {
	return func(yield func(dedupe.Key, dedupe.Fingerprint) bool) {
		said := time.Now()
		for n := range keys {
			if time.Since(said) > 10*time.Second {
				said = time.Now()
				progressf("%d of %d keys are known", n, keys)
			}
			var effect dedupe.Fingerprint
			binary.BigEndian.PutUint64(effect[:], uint64(n))
			key := dedupe.Key{Scope: "embedded/" + topic + "/" + group, Key: fmt.Sprintf("known-%d", n)}
			if !yield(key, effect) {
				return
			}
		}
	}
}
