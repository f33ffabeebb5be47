package kv

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A commit that may never have been acknowledged is whole in a salvage, or not there at
// all and named, whichever of its entries is gone: also if its seal and its end are there.
func TestSalvageTakesNoPartOfATornCommit(t *testing.T) {
	for name, versionOf := range versionings {
		for _, earlier := range []bool{false, true} { // something else is broken, too
			t.Run(fmt.Sprintf("%s, earlier %t", name, earlier), func(t *testing.T) {
				s := newSeals()
				log := make([]byte, walHeader)
				var entries [][2]int // of the last commit, but for its seal and its end
				for number := uint64(1); number <= 5; number++ {
					version := versionOf(number)
					for n := range 4 {
						from := len(log)
						log = appendEntry(log, bitTxn, fmt.Appendf(nil, "%d/%d", number, n), version, bytes.Repeat([]byte("v"), 20))
						if number == 5 {
							entries = append(entries, [2]int{from, len(log)})
						}
					}
					log = appendEnd(appendEntry(log, bitTxn, sealKey, version, s.of(number)), version)
				}
				if earlier {
					log[walHeader+12] ^= 1 // the first entry of commit 1
				}
				clean := func(log []byte, acked uint64) (map[string]uint64, []CommitRange) {
					salvage := salvagedLogs{sealed: s, most: 100, acked: acked}
					salvage.see(log)
					return entriesOfLog(t, salvage.clean(salvage.withoutTorn(log))), salvage.lost
				}
				if found, _ := clean(bytes.Clone(log), 4); ofLast(found) != 4 {
					t.Errorf("of the whole commit %d entries are there", ofLast(found))
				}
				for n, e := range entries {
					torn := bytes.Clone(log)
					clear(torn[e[0]:e[1]])
					found, lost := clean(torn, 4)
					if ofLast(found) != 0 || len(found) < 15 || !slices.Contains(lost, CommitRange{5, 5}) {
						t.Errorf("without entry %d: %d entries of it and %d others are there, lost %v", n, ofLast(found), len(found)-ofLast(found), lost)
					}
					if found, lost := clean(torn, 5); ofLast(found) != 3 || !slices.Contains(lost, CommitRange{5, 5}) {
						t.Errorf("without entry %d, acknowledged: %d entries of it are there, lost %v", n, ofLast(found), lost)
					}
				}
			})
		}
	}
}

func ofLast(found map[string]uint64) (n int) {
	for key := range found {
		if strings.HasPrefix(key, "5/") {
			n++
		}
	}
	return n
}

// The same of a database whose table is broken, which is why it is salvaged.
func TestATornCommitBesideABrokenTable(t *testing.T) {
	for name, torn := range map[string]bool{"torn": true, "whole": false} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t)
			h, _, ok, err := (&directory{path: d.opts.Dir}).readHead()
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			data, err := os.ReadFile(d.log)
			must(t, err)
			number := h.highWater + 1
			var entries []byte
			for n := range 3 {
				entries = appendEntry(entries, bitTxn, fmt.Appendf(nil, "torn-%d", n), number, []byte("value"))
			}
			entries = appendEnd(appendEntry(entries, bitTxn, sealKey, number, (&seals{h.secret}).of(number)), number)
			if torn {
				entries[10] ^= 1
			}
			s := scanLog(data, span{0, number}, nil)
			copy(data[s.end:], entries)
			must(t, os.WriteFile(d.log, data, 0o600))
			flip(t, aTable(t, d.opts.Dir), -100)
			db := openTest(t, d.opts)
			report := db.Damage()
			if report == nil {
				t.Fatal("it is not salvaged")
			}
			there, named := len(keysOf(t, db, Scan{Prefix: []byte("torn-")})), slices.Contains(report.Lost, CommitRange{number, number})
			if torn && (there != 0 || !named) || !torn && (there != 3 || named) {
				t.Errorf("%d of 3 entries are there, lost %v of commit %d", there, report.Lost, number)
			}
			if got := len(keysOf(t, db, Scan{Prefix: []byte("key-")})); got != 2500 {
				t.Errorf("%d of the 2,500 keys before it are there, in %s", got, filepath.Base(d.log))
			}
		})
	}
}
