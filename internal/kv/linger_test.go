package kv

import (
	"testing"
	"time"
)

// lingering is a database without a committer: the test takes its batches.
func lingering(t *testing.T, opts Options) (*DB, *Queue[*pair]) {
	t.Helper()
	db := newDB(opts.withDefaults(), nil)
	return db, Attach(db, record{})
}

// come queues operations, and reports whether the committer was woken.
func come(db *DB, q *Queue[*pair], n int, waits bool) (woken bool) {
	select {
	case <-db.wake:
	default:
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	for range n {
		q.join(&pair{}, 100, waits)
	}
	return len(db.wake) > 0
}

// ended is a commit of so many callers that took so long and ends now.
func ended(db *DB, callers int, took time.Duration, now time.Time) {
	db.mu.Lock()
	defer db.mu.Unlock()
	waiting := 0
	if len(db.pending) > 0 {
		waiting = db.pending[0].waiting
	}
	db.linger.answered(callers, waiting, took, now)
}

func TestCommitWaitsForThoseWhoWereAnswered(t *testing.T) {
	const most = time.Millisecond
	now := time.Now()
	cases := []struct {
		name           string
		answered, here int // by the commit before, and waiting since
		took, since    time.Duration
		want           time.Duration // of waiting
	}{
		{"one caller alone", 1, 1, most, 0, 0},
		{"nobody was answered", 0, 1, most, 0, 0},
		{"all of them are here", 8, 8, most, 0, 0},
		{"three quarters are here", 8, 6, most, 0, 0},
		{"half are here", 8, 4, most, 0, most},
		{"for twice as long as the last one took", 8, 1, most / 4, 0, most / 2},
		{"for as long as is allowed", 8, 1, time.Second, 0, most},
		{"what is left of it", 8, 1, most, most / 4, 3 * most / 4},
		{"nothing is left of it", 8, 1, most, most, 0},
		{"long after", 8, 1, most, time.Hour, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db, q := lingering(t, Options{Linger: most})
			ended(db, c.answered, c.took, now)
			come(db, q, c.here, true)
			b, wait, _ := db.take(now.Add(c.since))
			if wait != c.want || (b == nil) != (c.want > 0) {
				t.Errorf("a batch: %t, waits %s; want %s", b != nil, wait, c.want)
			}
		})
	}
}

func TestEnoughCallersEndTheWait(t *testing.T) {
	db, q := lingering(t, Options{Linger: time.Minute})
	now := time.Now()
	come(db, q, 2, true)
	ended(db, 8, time.Minute, now) // and two waited: seven and a half of ten are enough
	if b, wait, _ := db.take(now); b != nil || wait != time.Minute {
		t.Fatalf("a batch: %t, waits %s", b != nil, wait)
	}
	if come(db, q, 5, true) {
		t.Error("seven wake the committer, and eight are waited for")
	}
	if come(db, q, 4, false) {
		t.Error("operations that nobody waits for wake the committer")
	}
	if !come(db, q, 1, true) {
		t.Error("eight do not wake the committer")
	}
	if b, _, _ := db.take(now); b == nil || b.waiting != 8 || b.ops != 12 {
		t.Errorf("took %+v", b)
	}
}

// TestThoseWhoCameBeforeAreExpected: of two halves that come in turn, neither is all.
// Who does not come is forgotten.
func TestThoseWhoCameBeforeAreExpected(t *testing.T) {
	now := time.Now()
	waits := func(db *DB, q *Queue[*pair], here int) bool {
		come(db, q, here, true)
		b, _, _ := db.take(now)
		db.mu.Lock()
		db.pending = nil
		db.mu.Unlock()
		return b == nil
	}
	db, q := lingering(t, Options{Linger: time.Minute})
	ended(db, 64, time.Minute, now)
	ended(db, 8, time.Minute, now) // 56 are expected
	if !waits(db, q, 41) {
		t.Error("a commit of 41 did not wait, where 64 were answered two commits before")
	}
	if waits(db, q, 42) {
		t.Error("a commit of 42 waits for more")
	}
	for range 32 {
		ended(db, 1, time.Minute, now)
	}
	if waits(db, q, 1) {
		t.Error("a commit of one waits for those who have gone")
	}
}

func TestNothingElseWaits(t *testing.T) {
	now := time.Now()
	for name, change := range map[string]func(db *DB, q *Queue[*pair]){
		"a full batch": func(db *DB, q *Queue[*pair]) { come(db, q, 2*db.maxEntries, true) },
		"a close":      func(db *DB, _ *Queue[*pair]) { db.closing = true },
	} {
		t.Run(name, func(t *testing.T) {
			db, q := lingering(t, Options{Linger: time.Minute})
			ended(db, 1<<20, time.Minute, now)
			come(db, q, 1, true)
			change(db, q)
			if b, _, _ := db.take(now); b == nil {
				t.Error("it is not taken")
			}
		})
	}
	t.Run("a posted operation that is due", func(t *testing.T) {
		db, q := lingering(t, Options{Linger: time.Minute, LazyDelay: time.Millisecond})
		ended(db, 8, time.Minute, now)
		come(db, q, 1, false)
		if b, _, _ := db.take(now.Add(time.Minute)); b == nil {
			t.Error("it is not taken")
		}
	})
}
