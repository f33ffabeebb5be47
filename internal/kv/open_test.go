package kv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// filled makes a closed database with pairs in tables on several levels.
func filled(t *testing.T, opts Options, keys int) {
	t.Helper()
	db, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	q := Attach(db, &writer{})
	fill(t, q, 0, keys)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func fill(t *testing.T, q *Queue[*write], from, to int) {
	t.Helper()
	value := strings.Repeat("v", 1000)
	for from < to {
		w := &write{set: map[string]string{}}
		for range min(40, to-from) {
			w.set[numbered(from)] = value
			from++
		}
		mustCommit(t, q, w)
	}
}

// killed copies a database's files while it runs, which is what a process
// that is killed at that moment leaves behind. Nothing may be committed
// meanwhile; a copy during which a flush or a compaction ended is made again.
func killed(t *testing.T, from string) string {
	t.Helper()
	for {
		before := listing(t, from)
		dir := filepath.Join(t.TempDir(), "copy")
		err := os.CopyFS(dir, os.DirFS(from))
		if before == listing(t, from) {
			must(t, err)
			return dir
		}
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var b strings.Builder
	for _, e := range entries {
		if st, err := e.Info(); err == nil {
			fmt.Fprintln(&b, e.Name(), st.Size(), st.ModTime())
		}
	}
	return b.String()
}

func count(t *testing.T, db *DB) int {
	t.Helper()
	return len(keysOf(t, db, Scan{KeysOnly: true}))
}

func TestOpenAfterCleanStop(t *testing.T) {
	opts := testOptions(t.TempDir())
	filled(t, opts, 4000)
	marker := filepath.Join(opts.Dir, cleanName)
	if _, err := os.Stat(marker); err != nil {
		t.Fatal("no marker after Close:", err)
	}
	db := openTest(t, opts)
	if _, err := os.Stat(marker); err == nil {
		t.Error("the marker is there while the database is open")
	}
	if db.Stats().Unclean || count(t, db) != 4000 {
		t.Errorf("unclean %t, %d keys", db.Stats().Unclean, count(t, db))
	}
}

func TestOpenAfterUncleanStopRewrites(t *testing.T) {
	opts := testOptions(t.TempDir())
	first := openTest(t, opts)
	q := Attach(first, &writer{})
	fill(t, q, 0, 2500) // more than two memtables
	before := killed(t, opts.Dir)
	old := inodes(t, before)

	opts.Dir = before
	db := openTest(t, opts)
	if !db.Stats().Unclean || count(t, db) != 2500 {
		t.Errorf("unclean %t, %d keys", db.Stats().Unclean, count(t, db))
	}
	now := inodes(t, before)
	if now[badger.ManifestFilename] == old[badger.ManifestFilename] {
		t.Error("the manifest was not rewritten")
	}
	for name, inode := range now {
		if strings.HasSuffix(name, ".mem") && slices.Contains(slices.Collect(maps.Values(old)), inode) {
			t.Errorf("log %s was kept", name)
		}
	}
	if len(now) == 0 || !slices.ContainsFunc(slices.Collect(maps.Keys(old)), func(n string) bool { return strings.HasSuffix(n, ".mem") }) {
		t.Error("the test had no log to recover")
	}
}

// inodes are remembered with their file's birth, since numbers are used again.
func inodes(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		found[e.Name()] = birth(t, filepath.Join(dir, e.Name()))
	}
	return found
}

func TestOpenRecoversLogsOfALargerMemTable(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.MemTableSize = 8 << 20
	db := openTest(t, opts)
	q := Attach(db, &writer{})
	fill(t, q, 0, 3000)
	small := testOptions(killed(t, opts.Dir))
	if got := count(t, openTest(t, small)); got != 3000 {
		t.Errorf("%d keys", got)
	}
}

func TestOpenRemovesEmptyLogs(t *testing.T) {
	opts := testOptions(t.TempDir())
	filled(t, opts, 10)
	for _, clean := range []bool{true, false} {
		for _, name := range []string{"00007.mem", "00008.mem", "000091.vlog"} {
			if err := os.WriteFile(filepath.Join(opts.Dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if !clean {
			if err := os.Remove(filepath.Join(opts.Dir, cleanName)); err != nil {
				t.Fatal(err)
			}
		}
		db, err := Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		wantValue(t, db, numbered(3), strings.Repeat("v", 1000))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefusesAnotherFormat(t *testing.T) {
	opts := testOptions(t.TempDir())
	opts.Magic = 7
	filled(t, opts, 10)
	opts.Magic = 8
	_, err := Open(t.Context(), opts)
	if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "format 1.7, this program writes 1.8") {
		t.Fatalf("got %v", err)
	}
	opts.Magic = 7
	if db := openTest(t, opts); db.Stats().Unclean {
		t.Error("the refusal made the stop unclean")
	}
}

func TestOpenMakesDirectoriesAndKeepsThemPrivate(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "a", "b"))
	filled(t, opts, 2500)
	must(t, os.Chmod(opts.Dir, 0o755))
	openTest(t, opts)
	err := filepath.WalkDir(filepath.Dir(opts.Dir), func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		st, err := e.Info()
		must(t, err)
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, st.Mode().Perm(), want)
		}
		return nil
	})
	must(t, err)
}

func TestOptionsAreChecked(t *testing.T) {
	for name, opts := range map[string]Options{
		"no directory":     {},
		"small memtable":   {Dir: "x", MemTableSize: 1000},
		"commit too large": {Dir: "x", MaxCommit: 2 << 20},
	} {
		if _, err := Open(t.Context(), opts); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a directory was made")
	}
}

// TestBadgerOptions holds the settings on which the promise rests.
func TestBadgerOptions(t *testing.T) {
	for _, size := range []int64{1 << 20, 16 << 20, 64 << 20} {
		o := Options{Dir: "x", MemTableSize: size, Magic: 3}.withDefaults()
		b := o.badgerOptions(nil)
		if b.DetectConflicts || b.NumVersionsToKeep != 1 || b.Compression != options.None ||
			b.ChecksumVerificationMode != options.NoVerification || b.BypassLockGuard || b.ExternalMagicVersion != formatOf(3) {
			t.Errorf("%+v", b)
		}
		if b.ValueThreshold != o.inlineLimit() || o.inlineLimit() > o.maxBatchBytes() || int64(o.MaxCommit) >= o.maxBatchBytes() {
			t.Errorf("threshold %d, commit %d, batch %d", b.ValueThreshold, o.MaxCommit, o.maxBatchBytes())
		}
	}
}

// A table is a file that is open: a large spool has larger ones, not more than can
// be opened.
func TestTablesStayFew(t *testing.T) {
	for _, c := range []struct {
		limit int64
		files uint64
		size  int64
	}{
		{0, 1 << 20, minTableSize},
		{1 << 30, 1 << 20, minTableSize},
		{32 << 30, 1 << 20, 2 << 20},
		{33 << 30, 1 << 20, 4 << 20},
		{64 << 30, math.MaxUint64, 4 << 20},
		{5 << 30, 4096, 4 << 20}, // 2.5 MiB would do, in buffers as large
		{1 << 30, 64, 4 << 20},
		{1 << 40, 1024, maxTableSize},
	} {
		if size := (Options{Limit: c.limit}).tableSize(c.files); size != c.size {
			t.Errorf("limit %d, %d files: tables of %d bytes, want %d", c.limit, c.files, size, c.size)
		}
	}
	b := Options{Dir: "x", Limit: 1 << 40}.withDefaults().badgerOptions(nil)
	if b.TableSizeMultiplier != 1 || b.BaseTableSize != maxTableSize {
		t.Errorf("tables of %d bytes, %d times as large on the next level", b.BaseTableSize, b.TableSizeMultiplier)
	}
}

func TestLockWithinOneProcess(t *testing.T) {
	opts := testOptions(t.TempDir())
	first, err := Open(t.Context(), opts)
	must(t, err)
	_, err = Open(t.Context(), opts)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), opts.Dir) {
		t.Fatalf("second Open: %v", err)
	}
	q := Attach(first, &writer{})
	mustCommit(t, q, put("unharmed", "1"))

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	opts.LockWait = time.Hour
	if _, err = Open(ctx, opts); !errors.Is(err, ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Open with a context that ends: %v", err)
	}
	second := make(chan error, 1)
	go func() {
		db, err := Open(t.Context(), opts)
		if err == nil {
			wantValue(t, db, "unharmed", "1")
			err = db.Close()
		}
		second <- err
	}()
	must(t, first.Close())
	must(t, <-second)
}

func TestFilesystem(t *testing.T) {
	name, durable, err := Filesystem(filepath.Join(t.TempDir(), "not", "yet", "there"))
	if err != nil || name == "" {
		t.Errorf("%q, %v", name, err)
	}
	if durable != (name == "ext4" || name == "xfs") {
		t.Errorf("%s durable: %t", name, durable)
	}
	name, durable, err = Filesystem("/proc")
	if err != nil || durable || name != "0x9fa0" {
		t.Errorf("/proc: %q, %t, %v", name, durable, err)
	}
	if _, _, err := Filesystem("/proc/self/environ/x"); err == nil {
		t.Error("a file is not a directory")
	}
	var log strings.Builder
	warnFilesystem(Options{Dir: "/proc", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "filesystem=0x9fa0") {
		t.Errorf("log %q", log.String())
	}
}

func TestDirectoryIsSyncedOnlyIfItChanged(t *testing.T) {
	path := t.TempDir()
	file, err := os.Open(path)
	must(t, err)
	defer file.Close()
	d := &directory{path: path, file: file}
	must(t, d.syncIfChanged())
	if d.synced.Nano() != 0 {
		t.Error("a change within the clock's grain counts as seen")
	}
	old := time.Now().Add(-time.Minute)
	must(t, os.Chtimes(path, old, old))
	must(t, d.syncIfChanged())
	if d.synced.Nano() != old.UnixNano() {
		t.Errorf("remembered %v", d.synced)
	}
	must(t, file.Close())
	must(t, os.Mkdir(filepath.Join(t.TempDir(), "elsewhere"), 0o700))
	if err := d.syncIfChanged(); err == nil {
		t.Error("no error from a closed directory")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
