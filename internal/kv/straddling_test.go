package kv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// TestACompactionReachesOverABacklog: two kinds of keys, each written in its order, as
// the keys and the blocks of a spool. A table that ends the one kind and begins the
// other reaches, on the level beneath, over all that the second has there: its
// compaction writes most of the database again. It is what RewriteRoom is for.
func TestACompactionReachesOverABacklog(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	opts.Limit = 1 << 30
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	body := strings.Repeat("x", 60_000)
	most, of := 0, 0
	for n := range 1600 {
		mustCommit(t, q, &write{set: map[string]string{fmt.Sprintf("keys-%06d", n): body[:3000], fmt.Sprintf("message-%06d", n): body}})
	}
	data, err := os.ReadFile(filepath.Join(opts.Dir, badger.ManifestFilename))
	must(t, err)
	sets, err := changeSets(data)
	must(t, err)
	for n, s := range sets {
		if _, deleted := s.count(); deleted > most {
			most, of = deleted, len(live(sets[:n]))
		}
	}
	t.Logf("%d of %d tables", most, of)
	if 3*most < of {
		t.Errorf("the largest compaction read %d of %d tables: is the room still needed?", most, of)
	}
}
