package kv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoteOutlivesKillAndSalvage: the note stands outside of what it is about.
func TestNoteOutlivesKillAndSalvage(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	running := openTest(t, opts)
	if got := running.Noted(); len(got) > 0 {
		t.Errorf("a new database has the note %q", got)
	}
	running.Note([]byte("so far"))
	mustCommit(t, Attach(running, &writer{}), put("k", "v"))
	<-running.keeper.end()
	must(t, running.keeper.note())
	opts.Dir = killed(t, opts.Dir)
	for range 2 { // recovered, and closed cleanly
		db, err := Open(t.Context(), opts)
		must(t, err)
		if got := string(db.Noted()); got != "so far" {
			t.Errorf("the note is %q", got)
		}
		must(t, db.Close())
	}
	must(t, os.Remove(filepath.Join(opts.Dir, "MANIFEST")))
	db := openTest(t, opts)
	if got := string(db.Noted()); db.Damage() == nil || got != "so far" {
		t.Errorf("after a salvage the note is %q", got)
	}
}

// TestDamagedBlockIsAnErrorOfTheRead breaks the offsets of a table's blocks
// under an open database: Badger would end the process. The next Open salvages.
func TestDamagedBlockIsAnErrorOfTheRead(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2500)
	db, err := Open(t.Context(), opts)
	must(t, err)
	path := aTable(t, opts.Dir)
	data, err := os.ReadFile(path)
	must(t, err)
	index, _, err := splitTable(data)
	must(t, err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	for _, b := range index.blocks[:len(index.blocks)-1] { // number of entries, and what is before it
		_, err := f.WriteAt([]byte("\xff\xff\xff\x7f\xff\xff\xff\x7f\x00\x00\x00\x02"), b.to-22)
		must(t, err)
	}
	must(t, f.Close())
	failed := 0
	for i := range 2500 {
		switch _, err := db.Get([]byte(numbered(i))); {
		case errors.Is(err, ErrDamaged):
			failed++
		case err != nil && !errors.Is(err, ErrNotFound):
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Error("no read failed: this test shows nothing")
	}
	must(t, db.Close())
	if again := openTest(t, opts); again.Damage() == nil {
		t.Error("the next Open did not look")
	}
}

// TestReaderPassesOnItsCallersPanic: only Badger's are contained.
func TestReaderPassesOnItsCallersPanic(t *testing.T) {
	db := openTest(t, testOptions(t.TempDir()))
	mustCommit(t, Attach(db, &writer{}), put("k", "v"))
	defer func() {
		if p := recover(); p != "mine" {
			t.Errorf("recovered %v", p)
		}
	}()
	t.Error(db.Scan(Scan{}, func([]byte, []byte) (bool, error) { panic("mine") }))
}

func TestStorageErrorTellsADiskFromARefusal(t *testing.T) {
	at := func(err error) error { return &fs.PathError{Op: "open", Path: "/x", Err: err} }
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{at(unix.EIO), true},
		{errors.New("as badger says it: " + unix.EIO.Error()), true},
		{at(unix.EROFS), true},
		{at(unix.EACCES), false},
		{at(unix.ENOENT), false},
		{ErrLocked, false},
		{ErrDamaged, false},
	} {
		got := StorageError(tt.err)
		if errors.Is(got, ErrStorage) != tt.want || tt.err != nil && !errors.Is(got, tt.err) {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}
