package badgerproof

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// TestACompactionDropsATable shows, with nothing but Badger, why internal/kv
// watches its compactions: of a table that cannot be written, here because a
// file of its name is there, the error is forgotten (levels.go, subcompact), and
// the compaction goes on and deletes what it was made from. The day this test
// fails because an error was returned, compactions.go and takeback.go of
// internal/kv may go.
func TestACompactionDropsATable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	const last = 1600
	options := Options(dir, Synced).WithNumCompactors(0).WithNumLevelZeroTablesStall(1000)
	with := func(do func(db *badger.DB)) {
		db, err := badger.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		do(db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	with(func(db *badger.DB) {
		if err := Write(db, Synced, last, io.Discard); err != nil {
			t.Fatal(err)
		}
	})
	with(func(db *badger.DB) {
		next := uint64(0)
		for _, info := range db.Tables() {
			next = max(next, info.ID+1)
		}
		if err := os.WriteFile(table.NewFilename(next, dir), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := db.Flatten(1); err != nil {
			t.Errorf("the compaction tells that it failed: %v", err)
		}
	})
	var firsts []int
	for n := 1; n <= last; n += perCommit {
		firsts = append(firsts, n)
	}
	missing, err := Missing(dir, firsts)
	if t.Logf("%d of %d records are gone", missing, last); err != nil || missing == 0 {
		t.Errorf("%d records are missing, %v", missing, err)
	}
}
