package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/spool"
)

// Rot is found while the spool is open: it is said, with the sequences, nothing
// stops, and the next opening saves what can be read.
func TestVerificationFindsRotWhileOpen(t *testing.T) {
	r := newRig(t, spool.Options{})
	large := strings.Repeat("x", 3000)
	for n := range 60 {
		r.accept(draft("t", fmt.Sprintf("body %02d %s", n, large)))
	}
	r.reopen() // now all of it is in tables
	if err := r.VerifyNow(); err != nil {
		t.Fatal(err)
	}
	if v := r.Verified(); v.Passes != 1 || v.Bytes < 60*3000 || r.Damage().Pending() {
		t.Fatalf("a whole spool: %+v, %+v", v, r.Damage())
	}
	r.rests()
	rot(t, r.dbDir(), "body 20 ")
	if err := r.VerifyNow(); err != nil {
		t.Fatal(err)
	}
	seen := strings.Join(r.Damage().Seen, "\n")
	if !strings.Contains(seen, ".sst") || !strings.Contains(seen, "cannot be read now: [21]") || !r.Damage().Pending() {
		t.Errorf("seen %s", seen)
	}
	if kept, err := filepath.Glob(filepath.Join(r.dir, "quarantine", "tables", "*.sst")); err != nil || len(kept) == 0 {
		t.Error("the damaged table is not kept", err)
	}
	r.accept(draft("t", "accepted meanwhile"))
	r.reopen()
	d := r.Damage().Reports
	if len(d) != 1 || d[0].Database == "" || r.Ledger().Total.Lost != d[0].Lost || d[0].Lost == 0 {
		t.Fatalf("the next opening: %+v", d)
	}
	r.acknowledged(1)
	if a := r.balanced(); a.Held != 60 || d[0].Lost != 1 || runs(d[0].Sequences) != "21-21 t" {
		t.Errorf("%d of 61 are held: %+v", a.Held, d[0])
	}
}

// rot changes a bit in whichever table holds text.
func rot(t *testing.T, dir, text string) {
	t.Helper()
	path, at := inFile(t, filepath.Join(dir, "*.sst"), func(data []byte) int { return bytes.Index(data, []byte(text)) })
	flipBits(t, path, at, 1)
}

// inFile returns the first file of a pattern in which there is a place, and that.
func inFile(t rapid.TB, pattern string, place func(data []byte) (at int)) (path string, at int) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := place(data); at >= 0 {
			return path, at
		}
	}
	t.Fatalf("none of %v has what is looked for", files)
	return "", 0
}

// flipBits flips bits of a byte, of a file that may be mapped.
func flipBits(t rapid.TB, path string, at int, bits byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, int64(at))
	b[0] ^= bits
	_, failed := f.WriteAt(b, int64(at))
	if err := errors.Join(err, failed, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// An open spool is read again by itself: a minute after the opening, at 8 MiB a second.
func TestVerificationRunsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, spool.Options{})
		large := strings.Repeat("x", 500_000)
		for range 6 {
			r.accept(draft("t", large))
		}
		r.reopen() // now all of it is in tables
		begins := time.Now().Add(time.Minute)
		time.Sleep(time.Until(begins) - time.Millisecond)
		if v := r.Verified(); v != (spool.Verified{}) {
			t.Fatalf("it has begun before its time: %+v", v)
		}
		time.Sleep(2 * time.Millisecond)
		if v := r.Verified(); v.Passes != 0 || v.Bytes == 0 {
			t.Fatalf("it has not begun, or is over at once: %+v", v)
		}
		time.Sleep(time.Minute)
		v := r.Verified()
		took, want := v.Last.Sub(begins), time.Duration(float64(v.Bytes)/(8<<20)*float64(time.Second))
		if v.Passes != 1 || v.Bytes < 3_000_000 || (took-want).Abs() > 2*time.Millisecond {
			t.Fatalf("%+v: it took %s, want %s", v, took, want)
		}
	})
}
