package spool_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// TestFlippedBitCostsOneMessage flips a bit of one message, in a log and in a
// table, plain and encrypted: of a commit of sixty, and of sixty commits that
// share a block of the table, this one is lost, by name, and no other.
func TestFlippedBitCostsOneMessage(t *testing.T) {
	for name, keys := range map[string]*keyring.Ring{"plain": nil, "encrypted": ring(1)} {
		for _, in := range []string{"log", "table"} {
			for _, commits := range []int{1, 60} {
				t.Run(fmt.Sprint(name, " ", in, " ", commits, " commits"), func(t *testing.T) {
					r := newRig(t, spool.Options{Keys: keys})
					var all []spool.Draft
					for n := range 60 {
						all = append(all, draft("t", fmt.Sprintf("body %02d %s", n, strings.Repeat("x", 700))))
					}
					for n := range commits {
						r.accept(all[n*len(all)/commits : (n+1)*len(all)/commits]...)
					}
					for range 3 { // else the commit of all sixty is the last one, and may be torn
						r.accept(draft("other", "x"))
					}
					if in == "table" {
						r.reopen()
						r.rests()
						hit(r, ".sst", 20)
						if err := r.VerifyNow(); err != nil { // so that the next opening looks at it
							t.Fatal(err)
						}
						r.reopen()
					} else {
						r.die()
						hit(r, ".mem", 20)
						r.open()
					}
					state := r.Damage()
					if len(state.Reports) != 1 || runs(state.Reports[0].Sequences) != "21-21 t" || state.Reports[0].Lost != 1 {
						t.Fatalf("%+v", state)
					}
					r.acknowledged(1)
					r.balanced()
					if got := r.drain("t"); strings.Count(got, "b") != 59 {
						t.Errorf("%d were forwarded", strings.Count(got, "b"))
					}
					r.reopen()
					r.balanced()
				})
			}
		}
	}
}

// hit flips a bit in the middle of the n-th message, in the files of that kind.
func hit(r *rig, kind string, n int) {
	r.t.Helper()
	record := recordOf(r, n)
	path, at := inFile(r.t, filepath.Join(r.dbDir(), "*"+kind), func(data []byte) int { return bytes.Index(data, record) })
	flipBits(r.t, path, at+len(record)/2, 1)
}

// recordOf finds the bytes of the n-th message as they are stored: a part of its
// record, or of its frame.
func recordOf(r *rig, n int) (record []byte) {
	r.t.Helper()
	if r.Spool == nil { // it was killed: the files tell
		db, err := kv.Open(r.t.(*testing.T).Context(), copyOfDatabase(r))
		if err != nil {
			r.t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		return recordIn(r, db, n)
	}
	return recordIn(r, r.db, n)
}

func copyOfDatabase(r *rig) kv.Options {
	opts := r.kv
	opts.Dir = filepath.Join(r.dir, "copy", "db")
	if err := os.MkdirAll(filepath.Dir(opts.Dir), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := copyDir(r.dbDir(), opts.Dir); err != nil {
		r.t.Fatal(err)
	}
	return opts
}

func recordIn(r *rig, db *kv.DB, n int) (record []byte) {
	r.t.Helper()
	err := db.Scan(kv.Scan{Prefix: []byte("sm")}, func(k, v []byte) (bool, error) {
		runs := spool.Owner(nil).Runs(k, v)
		if n -= len(runs); n < 0 {
			run := runs[n+len(runs)]
			record = bytes.Clone(v[run.From:run.To])
		}
		return n >= 0, nil
	})
	if err != nil || record == nil {
		r.t.Fatal(record, err)
	}
	return record
}

// TestOnlyItsOwnKeyIsProven takes every entry of a spool in which each kind stands
// once, under its own key and under those of its neighbours.
func TestOnlyItsOwnKeyIsProven(t *testing.T) {
	for name, keys := range map[string]*keyring.Ring{"plain": nil, "encrypted": ring(1)} {
		t.Run(name, func(t *testing.T) {
			r, owner := newRig(t, spool.Options{Keys: keys}), spool.Owner(keys)
			for n := range 3 {
				r.accept(draft("t", "sent"), draft("t", "buried"), draft("t", large('a'+byte(n))), draft("t", "held"))
				leases := r.lease("t", 2)
				r.confirm(leases[:1])
				r.bury(leases[1])
				r.confirm(r.lease("t", 1)[:1])
			}
			r.Flush()
			proven := map[string]int{}
			for _, prefix := range spool.Prefixes() {
				all := r.find(prefix)
				for n, e := range all {
					if !owner.Proves(e.key, e.value) {
						continue
					}
					proven[prefix]++
					other := all[(n+1)%len(all)]
					isPart := prefix == "sc" && keys == nil // its record tells
					if len(all) > 1 && owner.Proves(other.key, e.value) && !isPart && prefix != "sr" {
						t.Errorf("%x is taken for %x", e.key, other.key)
					}
					e.key[len(e.key)-1] ^= 1
					if owner.Proves(e.key, e.value) && !isPart {
						t.Errorf("%x is taken for the one of a flipped bit", e.key)
					}
				}
			}
			if proven["sm"] == 0 || proven["sd"] != 3 || proven["sc"] == 0 || proven["sr"] == 0 || len(proven) != 4+proven["ss"] || (proven["ss"] == 1) != (keys != nil) {
				t.Errorf("proven %v", proven)
			}
		})
	}
}

// TestLostDeletionBringsNothingBack spoils a block of a table that deletes a
// block of messages, so that nothing in it can be shown to be whole but the
// receipts: the messages are there again, and are settled all the same. Without
// the receipts they are sent again. Either way the books are right.
func TestLostDeletionBringsNothingBack(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(data []byte, at int)
		held  uint64
	}{
		"the deletion": {func(data []byte, at int) { copy(data[at+2:], "spoilt") }, 0},
		"all that tells of them": {func(data []byte, _ int) {
			blocks, _ := partsOf(data)
			copy(data[:blocks], bytes.Repeat([]byte("spoilt"), blocks))
		}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{})
			r.accept(draft("t", "1"), draft("t", "2"), draft("t", "3"))
			block := r.find("sm")[0]
			r.reopen()
			before := tablesOf(t, r)
			r.confirm(r.lease("t", 0))
			r.Flush()
			if len(r.find("sm")) != 0 {
				t.Fatal("the block is not deleted")
			}
			r.close()
			for path := range tablesOf(t, r) {
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if at := bytes.Index(data, block.key); at >= 0 && !before[path] {
					tc.spoil(data, at)
					if err := os.WriteFile(path, data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := r.start(); err != nil {
				t.Fatal(err)
			}
			if d := r.Damage(); len(d.Reports) != 1 || d.Reports[0].Lost != 0 {
				t.Fatalf("%+v", d)
			}
			r.acknowledged(1)
			n := r.balanced().Ledger.Total
			if n.Accepted != 3 || n.InSpool.Held() != tc.held || n.Lost != 0 || n.Confirmed+n.Unattributed != 3-tc.held {
				t.Errorf("%+v", n)
			}
			if got := r.drain("t"); got != strings.Repeat("1 2 3", int(tc.held/3)) {
				t.Errorf("forwarded %q", got)
			}
			r.reopen()
			r.balanced()
		})
	}
}

func tablesOf(t *testing.T, r *rig) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dbDir(), "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, path := range files {
		all[path] = true
	}
	return all
}
