package spool

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
)

// keyWriter writes entries of keys behind a spool's back.
type keyWriter struct{}

func (keyWriter) Write(tx *kv.Tx, ops []func(*kv.Tx)) error {
	for _, do := range ops {
		do(tx)
	}
	return nil
}

func (keyWriter) Synced([]func(*kv.Tx)) {}

// keysTwice has an index of n keys that stand in two entries, under two sequences, the
// former of which counts no more, and of as many that stand in one.
func keysTwice(t testing.TB, n, each int) *Spool {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &Spool{db: &store{DB: db}, keys: newKeyIndex()}
	queue := kv.Attach(db, keyWriter{})
	rng := rand.New(rand.NewPCG(1, 2))
	once := make([]keyEntry, 2*n)
	for i := range once {
		binary.BigEndian.PutUint64(once[i].hash[:], rng.Uint64())
		once[i].ref.seq = uint64(i + 1)
	}
	again := slices.Clone(once[:n])
	for i := range again {
		again[i].ref.seq += uint64(2 * n)
	}
	part := uint64(0)
	for some := range slices.Chunk(slices.Concat(once, again), each) {
		part++
		v := encodeKeys(some)
		keys, err := keysIn(v)
		if err == nil {
			s.keys.load(keys, 1, part)
			s.keys.part = part
			err = queue.Commit(t.Context(), func(tx *kv.Tx) { tx.Set(dedupeKey(1, part), v) }, len(v)+1<<10)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Of keys that stand twice the same ones count, however few are compared at a time.
func TestKeysAreOutdatedSomeAtATime(t *testing.T) {
	const n = 3000
	for _, atOnce := range []int{1, 700, outdateAtOnce} {
		t.Run(fmt.Sprint(atOnce), func(t *testing.T) {
			s := keysTwice(t, n, 128)
			if err := s.outdate(s.keys.tags.sort(), atOnce); err != nil {
				t.Fatal(err)
			}
			var left []uint64
			for r, b := range s.keys.with {
				for seq := r << bitmapShift; seq < (r+1)<<bitmapShift; seq++ {
					if b.has(seq) {
						left = append(left, seq)
					}
				}
			}
			slices.Sort(left)
			if len(left) != 2*n || left[0] != n+1 || left[len(left)-1] != 3*n || s.keys.count != 2*n {
				t.Errorf("%d sequences have a key, from %v on; %d are counted", len(left), left[:min(3, len(left))], s.keys.count)
			}
		})
	}
}
