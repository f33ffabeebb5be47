package spool_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// stopped are the ways in which a spool with eight messages can lie there, stopped.
// None of them costs a message.
var stopped = map[string]func(*rig){
	"closed":             func(r *rig) { r.close() },
	"killed":             func(r *rig) { r.die() },
	"killed, with table": func(r *rig) { r.reopen(); r.die() },
	"a byte flipped in a table": func(r *rig) {
		r.reopen()
		id := r.ID()
		r.die()
		r.hits(".sst", id[:])
	},
	"a byte flipped in the only table": func(r *rig) {
		id := r.ID()
		r.close()
		r.hits(".sst", id[:]) // in the head
	},
	"a byte flipped in a log": func(r *rig) {
		all := r.find("si")
		r.die()
		r.hits(".mem", all[len(all)-2].value)
	},
	"head lost": func(r *rig) {
		r.loseHead()
	},
	"head lost, and a byte flipped": func(r *rig) {
		index := r.find("si")[0].value
		r.loseHead()
		r.hits(".sst", index)
	},
	"HEAD lost": func(r *rig) {
		r.die()
		r.loses("HEAD")
	},
	"HEAD lost, closed": func(r *rig) {
		r.close()
		r.loses("HEAD")
	},
	"HEAD lost, and a byte flipped in the only table": func(r *rig) {
		index := r.find("si")[0].value
		r.close()
		r.hits(".sst", index)
		r.loses("HEAD")
	},
	"HEAD and the manifest lost": func(r *rig) {
		r.reopen()
		r.die()
		r.loses("HEAD")
		r.loses("MANIFEST")
	},
	"HEAD and head lost": func(r *rig) {
		r.loseHead()
		r.loses("HEAD")
	},
}

// loseHead closes the spool and takes its head away.
func (r *rig) loseHead() {
	r.t.Helper()
	r.close()
	db, err := kv.Open(r.t.(*testing.T).Context(), r.kv)
	if err != nil {
		r.t.Fatal(err)
	}
	r.db, r.intruder = db, nil
	r.removed("sh")
	if err := r.db.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) loses(name string) {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.dbDir(), name)); err != nil {
		r.t.Fatal(err)
	}
}

// hits flips a bit in the middle of what stands in a file of that kind.
func (r *rig) hits(kind string, what []byte) {
	r.t.Helper()
	path, at := inFile(r.t, filepath.Join(r.dbDir(), "*"+kind), func(data []byte) int { return bytes.Index(data, what) })
	flipBits(r.t, path, at+len(what)/2, 1)
}

// everyFile is what lies in the rig's directory, but for the lock, which names the
// process that last had it.
func (r *rig) everyFile() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "OWNER" {
			return err
		}
		if d.IsDir() {
			all[path] = "directory"
			return nil
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *rig) untouched(before map[string]string) {
	r.t.Helper()
	after := r.everyFile()
	for path, was := range before {
		if now, ok := after[path]; !ok {
			r.t.Errorf("%s is gone", path)
		} else if now != was {
			r.t.Errorf("%s was changed", path)
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			r.t.Errorf("%s is new", path)
		}
	}
}

// A key that is needed and not there ends an opening before it has changed a byte,
// however the spool lies there; with the key all is there.
func TestWithoutItsKeyADamagedSpoolIsNotSalvaged(t *testing.T) {
	starts := map[string]struct {
		first, then []int // keys while it was filled: the later half of the messages under the second ones
		with        []int
	}{
		"a wrong key":                      {[]int{1}, []int{1}, []int{2}},
		"no key":                           {[]int{1}, []int{1}, nil},
		"no key, where some is plain":      {nil, []int{1}, nil},
		"a wrong key, where some is plain": {nil, []int{1}, []int{2}},
		"the older key alone":              {[]int{3}, []int{1, 3}, []int{3}},
	}
	for how, stop := range stopped {
		for what, keys := range starts {
			t.Run(how+": "+what, func(t *testing.T) {
				r := newRig(t, spool.Options{Keys: ringOf(keys.first)})
				var want []string
				fill := func(n int) {
					want = append(want, fmt.Sprint("body ", n))
					r.accept(draft("t", want[n]))
				}
				for n := range 4 {
					fill(n)
				}
				if fmt.Sprint(keys.first) != fmt.Sprint(keys.then) {
					r.close()
					r.opts.Keys = ringOf(keys.then)
					r.open()
				}
				for n := range 4 {
					fill(4 + n)
				}
				stop(r)
				before := r.everyFile()
				r.opts.Keys = ringOf(keys.with)
				for range 2 {
					if err := r.tryOpen(); err != nil {
						needs(t, err, ring(1))
					} else {
						t.Fatalf("opened; it holds %d", r.Ledger().Total.InSpool.Held())
					}
					r.untouched(before)
				}
				r.opts.Keys = ringOf(keys.then)
				r.open()
				if got := r.drainSome("t", len(want)); got != strings.Join(want, " ") {
					t.Errorf("forwarded %s, want %s", got, want)
				}
			})
		}
	}
}

// ringOf is a ring of keys with these numbers; of none: none.
func ringOf(numbers []int) *keyring.Ring {
	if len(numbers) == 0 {
		return nil
	}
	return ring(numbers...)
}

// A key that nothing needs does not stop a salvage: neither one that damage made up, nor
// one whose entries are deleted and still in a table.
func TestAKeyThatIsNotNeededStopsNoSalvage(t *testing.T) {
	for name, lose := range map[string]func(*rig){"HEAD is there": func(*rig) {}, "HEAD is lost": func(r *rig) { r.loses("HEAD") }} {
		t.Run("made up, "+name, func(t *testing.T) {
			r := newRig(t, spool.Options{Keys: ring(1)})
			r.accept(draft("t", "0"), draft("t", "1"), draft("t", "2"))
			block := r.find("sm")[0]
			frame := block.value[2:][:(len(block.value)-2)/3]
			frame[8] ^= 1 // the name of its key
			reseal(frame)
			r.behind(func(tx *kv.Tx) { tx.Set(block.key, block.value) })
			r.accept(draft("t", "3"))
			r.close()
			lose(r)
			r.open()
			if got := r.drainSome("t", 3); got != "1 2 3" {
				t.Errorf("forwarded %s", got)
			}
		})
		t.Run("drained, "+name, func(t *testing.T) {
			now := newClock()
			r := newRig(t, spool.Options{Keys: ring(1), Now: now.now, LedgerKeep: 24 * time.Hour})
			r.accept(draft("t", "0"), draft("t", "1"))
			r.close()
			r.opts.Keys = ring(2, 1)
			r.open()
			r.confirm(r.lease("t", 2))
			r.reopen()
			for range 2 {
				now.advance(25 * time.Hour)
				if err := r.Expire(); err != nil {
					t.Fatal(err)
				}
			}
			r.reopen()
			if len(r.OlderKeys()) != 0 {
				t.Fatalf("left of other keys: %v", r.OlderKeys())
			}
			r.accept(draft("t", "2"))
			index := r.find("si")[0].value
			for range 3 { // else it is the last commit, and may be torn
				r.accept(draft("other", "x"))
			}
			r.die()
			r.opts.Keys = ring(2)
			lose(r)
			r.hits(".mem", index)
			r.open()
			if got := r.drainSome("t", 1); got != "2" {
				t.Errorf("forwarded %s", got)
			}
		})
	}
}

// TestNoFlippedByteHidesTheKey flips bytes of the only table of a spool with one message,
// one at a time: none lets it be opened under another key.
func TestNoFlippedByteHidesTheKey(t *testing.T) {
	r := newRig(t, spool.Options{Keys: ring(1)})
	r.accept(draft("t", "0"))
	r.close()
	path, size := r.onlyTable()
	for at := 0; at < size; at += max(1, size/200) {
		flipBits(t, path, at, 0x10)
		before := r.everyFile()
		needs(t, r.under(2), ring(1))
		r.untouched(before)
		if t.Failed() {
			t.Fatalf("at byte %d of %d", at, size)
		}
		flipBits(t, path, at, 0x10)
	}
	r.open()
	if got := r.drainSome("t", 1); got != "0" {
		t.Errorf("forwarded %s", got)
	}
}

// under tries to open the spool under another key.
func (r *rig) under(number int) error {
	keys := r.opts.Keys
	r.opts.Keys = ring(number)
	err := r.tryOpen()
	r.opts.Keys = keys
	return err
}

func (r *rig) onlyTable() (path string, size int) {
	r.t.Helper()
	all, err := filepath.Glob(filepath.Join(r.dbDir(), "*.sst"))
	if err != nil || len(all) != 1 {
		r.t.Fatal(all, err)
	}
	info, err := os.Stat(all[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return all[0], int(info.Size())
}
