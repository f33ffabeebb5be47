package kv

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// asker is an owner that is asked.
type asker struct {
	keptOwner
	admits func(*Closed) ([]byte, error)
}

func (a asker) Admits(_ context.Context, c *Closed) ([]byte, error) { return a.admits(c) }

// twoFiles is a database that was killed, with the keys 0 to 19 in a table and 20 to 39
// in a log, of which 0 and 20 are deleted, and 1 was written twice.
func twoFiles(t *testing.T) Options {
	t.Helper()
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	fill := func(db *DB, from int) {
		q := Attach(db, &writer{})
		for n := range 20 {
			mustCommit(t, q, put(numbered(from+n), kept(numbered(from+n), 0, 100)))
		}
		mustCommit(t, q, &write{delete: []string{numbered(from)}})
	}
	db, err := Open(t.Context(), opts)
	must(t, err)
	fill(db, 0)
	must(t, db.Close())
	db, err = Open(t.Context(), opts)
	must(t, err)
	fill(db, 20)
	mustCommit(t, Attach(db, &writer{}), put(numbered(1), "again"))
	from := opts.Dir
	opts.Dir = killed(t, from)
	must(t, db.Close())
	return opts
}

// TestAdmissionSeesAllAndChangesNothing: an owner reads what is there before Open
// recovers it, and may refuse; then no file has changed.
func TestAdmissionSeesAllAndChangesNothing(t *testing.T) {
	opts := twoFiles(t)
	before := filesIn(t, opts.Dir)
	refused := errors.New("refused")
	newest := map[string]Entry{}
	opts.Owner = asker{admits: func(c *Closed) ([]byte, error) {
		if damaged, err := c.Damaged(); damaged || err != nil {
			t.Errorf("damaged: %v, %v", damaged, err)
		}
		err := c.Entries(t.Context(), func(e Entry) error {
			if !e.Whole {
				t.Errorf("%s is not whole", e.Key)
			}
			if known, ok := newest[string(e.Key)]; !ok || known.Version <= e.Version {
				e.Value = bytes.Clone(e.Value)
				newest[string(e.Key)] = e
			}
			return nil
		})
		must(t, err)
		return nil, refused
	}}
	if _, err := Open(t.Context(), opts); !errors.Is(err, refused) {
		t.Fatalf("opened: %v", err)
	}
	for n := range 40 {
		want, deleted := kept(numbered(n), 0, 100), n%20 == 0
		if n == 1 {
			want = "again"
		}
		if e, ok := newest[numbered(n)]; !ok || e.Deleted != deleted || !deleted && string(e.Value) != want {
			t.Errorf("%s: %v %+v", numbered(n), ok, e)
		}
	}
	for name, was := range filesIn(t, opts.Dir) {
		if before[name] != was && name != lockName {
			t.Errorf("%s has changed", name)
		}
		delete(before, name)
	}
	if len(before) > 0 {
		t.Errorf("gone: %d files", len(before))
	}
}

func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		all[f.Name()] = string(data)
	}
	return all
}

// TestAdmissionSeesThePartsOfWhatIsBroken: one flipped bit hides no other entry.
func TestAdmissionSeesThePartsOfWhatIsBroken(t *testing.T) {
	for _, kind := range []string{"*.sst", "*.mem"} {
		opts := twoFiles(t)
		hit := numbered(10)
		if kind == "*.mem" {
			hit = numbered(30)
		}
		files, err := filepath.Glob(filepath.Join(opts.Dir, kind))
		must(t, err)
		for _, path := range files {
			data, err := os.ReadFile(path)
			must(t, err)
			if at := bytes.Index(data, []byte(kept(hit, 0, 100))); at >= 0 {
				data[at+20] ^= 1
				must(t, os.WriteFile(path, data, 0o600))
			}
		}
		seen := map[string]bool{}
		opts.Owner = asker{admits: func(c *Closed) ([]byte, error) {
			if damaged, err := c.Damaged(); !damaged || err != nil {
				t.Errorf("%s: damaged: %v, %v", kind, damaged, err)
			}
			return nil, c.Entries(t.Context(), func(e Entry) error {
				if string(e.Key) != hit || e.Whole {
					seen[string(e.Key)] = true
				}
				return nil
			})
		}}
		db := openTest(t, opts)
		for n := range 40 {
			if seen[numbered(n)] == (numbered(n) == hit) {
				t.Errorf("%s: %s was seen: %v", kind, numbered(n), seen[numbered(n)])
			}
		}
		if db.Damage() == nil {
			t.Errorf("%s: no damage", kind)
		}
	}
}

// TestAdmittedNoteIsDurableBeforeACommit: it is in HEAD when Open returns.
func TestAdmittedNoteIsDurableBeforeACommit(t *testing.T) {
	opts := twoFiles(t)
	opts.Owner = asker{admits: func(*Closed) ([]byte, error) { return []byte("admitted"), nil }}
	db := openTest(t, opts)
	opts.Dir = killed(t, opts.Dir)
	opts.Owner = asker{admits: func(c *Closed) ([]byte, error) {
		if string(c.Noted()) != "admitted" {
			t.Errorf("the note is %q", c.Noted())
		}
		return nil, nil
	}}
	if again := openTest(t, opts); string(again.Noted()) != "admitted" || string(db.Noted()) != "admitted" {
		t.Errorf("the notes are %q and %q", db.Noted(), again.Noted())
	}
}
