package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"pgregory.net/rapid"
)

// kill ends the process as kill -9 does: what was written to files stays, synced
// or not, and nothing else. It opens a copy of the files as they are at this
// moment; the old process goes on with its own until it has ended.
func (r *rig) kill() {
	r.t.Helper()
	r.die()
	r.open()
}

func (r *rig) die() {
	r.t.Helper()
	from := r.dbDir()
	r.life++
	copyStill(r.t, from, r.dbDir())
	r.close()
}

// copyStill copies a directory, again if it changed meanwhile: Badger flushes
// memtables in the background. The lock is left out.
func copyStill(t rapid.TB, from, to string) {
	t.Helper()
	for range 50 {
		before := listing(t, from)
		err := copyDir(from, to)
		if err == nil && listing(t, from) == before {
			return
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the directory does not come to rest")
}

// copyDir leaves out what is zero: the files are sparse.
func copyDir(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		err = errors.Join(err, copyFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
	return err
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	err = f.Truncate(int64(len(b)))
	at, zero := int64(0), make([]byte, 64<<10)
	for page := range slices.Chunk(b, len(zero)) {
		if !bytes.Equal(page, zero[:len(page)]) {
			_, e := f.WriteAt(page, at)
			err = errors.Join(err, e)
		}
		at += int64(len(page))
	}
	return errors.Join(err, f.Close())
}

func listing(t rapid.TB, dir string) (all string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all += fmt.Sprintln(e.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return all
}
