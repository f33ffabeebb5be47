package kv

import (
	"strings"
	"testing"
)

// TestTheSyncedLogHoldsTheCommit holds what liveLog assumes of Badger: after
// each commit, through rotations, it is in the log that was synced; the empty
// log that was prepared is not taken for the newest.
func TestTheSyncedLogHoldsTheCommit(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.MemTableSize = minMemTableSize
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	logs := map[uint64]bool{}
	for i := range 200 {
		mustCommit(t, q, put(numbered(i), strings.Repeat("v", 20_000)))
		logs[db.live.id] = true
		last := db.reached
		with, err := walk(db.live.file, walHeader, last)
		must(t, err)
		without, err := walk(db.live.file, walHeader, last-1)
		must(t, err)
		if with == without {
			t.Fatalf("commit %d is not in log %d, which was synced", i, db.live.id)
		}
	}
	if len(logs) < 4 {
		t.Errorf("%d logs: too few prove nothing", len(logs))
	}
}
