package local

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/dedupetest"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

func ring(t *testing.T, keys ...string) *keyring.Ring {
	t.Helper()
	for i, k := range keys {
		keys[i] = strings.Repeat(k, 32)
	}
	r, err := keyring.Parse(strings.Join(keys, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// with opens the house anew with another ring.
func (h *house) with(r *keyring.Ring) {
	h.t.Helper()
	h.close()
	h.o.Keys = r
	h.open()
}

// refused opens the house with a ring that lacks a key, and then with right.
func (h *house) refused(wrong, right *keyring.Ring, names keyring.ID) {
	h.t.Helper()
	h.close()
	db, err := kv.Open(h.t.Context(), kv.Options{Dir: h.dir, MemTableSize: 1 << 20, CloseWait: 2 * time.Minute})
	if err != nil {
		h.t.Fatal(err)
	}
	o := h.o
	o.Keys = wrong
	missing := &keyring.MissingError{}
	if _, err := Open(db, o); !errors.As(err, &missing) || missing.ID != names {
		h.t.Errorf("%v, want one that names key %s", err, names)
	}
	if err := db.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.o.Keys = right
	h.open()
}

func TestContractWithKeys(t *testing.T) {
	dedupetest.Run(t, func(t *testing.T) *dedupetest.Instance {
		h := newHouse(t, 10*time.Hour)
		h.with(ring(t, "0a"))
		return &dedupetest.Instance{Store: h.store, Window: h.o.Window, Advance: h.pass, Reopen: h.reopen, Within: h.within}
	})
}

// found reports whether b is in a file of the house.
func (h *house) found(b []byte) (in bool) {
	h.t.Helper()
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		in = in || bytes.Contains(data, b)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

func TestNothingThatCanBeTriedOutIsInAFile(t *testing.T) {
	key := dedupe.Key{Scope: "s", Key: "a"}
	effect := dedupe.Fingerprint([]byte("a fingerprint..."))
	work := func(h *house) {
		m, err := h.store.Begin(t.Context(), key, effect, time.Minute)
		if err == nil {
			err = h.store.Done(t.Context(), key, m)
		}
		if err != nil {
			t.Fatal(err)
		}
		h.reopen()
	}
	digest := hash(key.Hash())
	h := newHouse(t, time.Hour)
	work(h)
	if !h.found(digest[:]) || !h.found(effect[:]) {
		t.Fatal("without a ring they are not found either")
	}
	h = newHouse(t, time.Hour)
	h.with(ring(t, "0a"))
	work(h)
	if h.found(digest[:]) || h.found(effect[:]) {
		t.Error("the hash of a key, or the fingerprint of its message, is in a file")
	}
	if m := begin(t, h.store, "other"); m.Verdict != dedupe.Begun {
		t.Error(m.Verdict)
	}
}

func repeats(t *testing.T, h *house, keys ...string) {
	t.Helper()
	for _, k := range keys {
		if m := begin(t, h.store, k); m.Verdict != dedupe.Repeat {
			t.Errorf("%s: %v", k, m.Verdict)
		}
	}
	if n := h.store.Damaged(); n > 0 {
		t.Errorf("%d marks are damaged", n)
	}
}

func TestPlainMarksAreFoundUntilTheyAreOld(t *testing.T) {
	h := newHouse(t, time.Hour)
	finish(t, h.store, "plain")
	h.with(ring(t, "0a"))
	finish(t, h.store, "encrypted")
	h.reopen()
	repeats(t, h, "plain", "encrypted")
	h.refused(nil, ring(t, "0a"), ring(t, "0a").Current())
	repeats(t, h, "plain", "encrypted")
}

func TestMarksOfAnOlderKey(t *testing.T) {
	h := newHouse(t, time.Hour)
	h.with(ring(t, "0a"))
	finish(t, h.store, "old")
	h.refused(ring(t, "0b"), ring(t, "0b", "0a"), ring(t, "0a").Current())
	if n := h.store.OlderKeys(); len(n) != 1 || n[ring(t, "0a").Current()] != 2 {
		t.Errorf("a mark and the secret lie under the older key, and it is told %v", n)
	}
	finish(t, h.store, "new")
	repeats(t, h, "old", "new")
	h.refused(ring(t, "0b"), ring(t, "0b", "0a"), ring(t, "0a").Current())
	if n := h.store.OlderKeys(); len(n) != 1 || n[ring(t, "0a").Current()] != 1 {
		t.Errorf("a mark lies under the older key, and it is told %v", n)
	}
	repeats(t, h, "old", "new")
	for range 9 { // until the buckets of the old key are deleted
		h.pass(10 * time.Minute)
		finish(t, h.store, "traffic"+h.store.now().String())
	}
	if err := h.store.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.reopen()
	if n := h.store.OlderKeys(); len(n) != 0 {
		t.Errorf("nothing lies under the older key, and it is told %v", n)
	}
	h.with(ring(t, "0b"))
	repeats(t, h, "traffic"+h.store.now().String())
}

func TestDamagedSecretNeverMakesARepeat(t *testing.T) {
	h := newHouse(t, time.Hour)
	h.with(ring(t, "0a"))
	finish(t, h.store, "a")
	v, err := h.db.Get(secretKey)
	if err != nil {
		t.Fatal(err)
	}
	for i := range v {
		b := bytes.Clone(v)
		b[i] ^= 1
		if _, err := decodeSecret(b, h.o.Keys); !errors.Is(err, errDamaged) {
			t.Errorf("byte %d: %v", i, err)
		}
		if _, err := decodeSecret(v[:i], h.o.Keys); !errors.Is(err, errDamaged) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	v[40] ^= 1
	h.plant(secretKey, v)
	h.reopen()
	if m := begin(t, h.store, "a"); m.Verdict != dedupe.Begun || h.store.Damaged() != 1 {
		t.Errorf("%v, %d damaged", m.Verdict, h.store.Damaged())
	}
	finish(t, h.store, "b")
	h.reopen()
	repeats(t, h, "b")
}

func TestMarkIsBoundToItsKey(t *testing.T) {
	h := newHouse(t, time.Hour)
	h.with(ring(t, "0a"))
	finish(t, h.store, "a")
	begin(t, h.store, "b")
	at := func(k string) []byte {
		written, _ := h.store.hashes(dedupe.Key{Scope: "s", Key: k})
		return markKey(h.store.buckets.newest(), written)
	}
	done, err := h.db.Get(at("a"))
	if err != nil {
		t.Fatal(err)
	}
	h.plant(at("b"), done)
	h.reopen() // it is read again
	if m := begin(t, h.store, "b"); m.Verdict != dedupe.Begun || h.store.Damaged() != 1 {
		t.Errorf("a done mark of another key: %v, %d damaged", m.Verdict, h.store.Damaged())
	}
}
