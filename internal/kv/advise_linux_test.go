package kv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheLiveLogIsAdvised looks at what the kernel knows of the mapping of the
// log: at open, and after a rotation.
func TestTheLiveLogIsAdvised(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.MemTableSize = minMemTableSize
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	first := db.live.id
	requireAdvised(t, db)
	for n := 0; db.live.id == first; n++ {
		if n == 1000 {
			t.Fatal("no rotation")
		}
		mustCommit(t, q, put(numbered(n), strings.Repeat("v", 20_000)))
	}
	requireAdvised(t, db)
}

// requireAdvised wants "rr" (VM_RAND_READ) among the flags (proc_pid_smaps(5)).
func requireAdvised(t *testing.T, db *DB) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, mapping, found := strings.Cut(string(text), filepath.Join(db.opts.Dir, logName(db.live.id)))
	_, flags, flagged := strings.Cut(mapping, "VmFlags:")
	flags, _, _ = strings.Cut(flags, "\n")
	if !found || !flagged || !strings.Contains(flags+" ", " rr ") {
		t.Errorf("log %d: mapped %t, flags %q", db.live.id, found, flags)
	}
}
