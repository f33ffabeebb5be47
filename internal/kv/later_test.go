package kv

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// orders notes the keys of the commits, one list each.
type orders struct {
	mu      sync.Mutex
	commits [][]string
}

func (o *orders) writer() *writer {
	return &writer{onWrite: func(ops []*write) error {
		var keys []string
		for _, op := range ops {
			for k := range op.set {
				keys = append(keys, k)
			}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.commits = append(o.commits, keys)
		return nil
	}}
}

func (o *orders) look() [][]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.commits)
}

// patient makes nothing happen by the clock.
func patient(t *testing.T) Options {
	opts := testOptions(t.TempDir())
	opts.LazyDelay, opts.Linger = time.Hour, -1
	return opts
}

func offer(t *testing.T, q *Queue[*write], key string) {
	t.Helper()
	op := put(key, "v")
	must(t, q.Offer(t.Context(), op, op.size()))
}

func postLater(q *Queue[*write], key string) {
	op := put(key, "v")
	q.Later(op, op.size())
}

func wantCommits(t *testing.T, o *orders, want [][]string) {
	t.Helper()
	if got := o.look(); !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("commits of %v, want %v", got, want)
	}
}

func TestOffersOvertakeWhatIsForLater(t *testing.T) {
	var o orders
	db := openTest(t, patient(t))
	q := Attach(db, o.writer())
	var want [][]string
	var together []string
	for i := range laterMost {
		postLater(q, numbered(i))
		together = append(together, numbered(i))
		if n := db.Stats().Queued; n != i+1 {
			t.Fatalf("%d are queued, want %d", n, i+1)
		}
		if i < laterMost-1 {
			key := "offer" + numbered(i)
			offer(t, q, key)
			want = append(want, []string{key})
		}
	}
	offer(t, q, "last")
	wantCommits(t, &o, append(want, append(together, "last")))
}

func TestEverythingElseComesAfterWhatIsForLater(t *testing.T) {
	var o orders
	db := openTest(t, patient(t))
	q := Attach(db, o.writer())
	postLater(q, "first")
	mustCommit(t, q, put("commit", "v"))
	postLater(q, "second")
	q.Post(put("post", "v"), 5)
	offer(t, q, "offer") // a posted one is not overtaken
	postLater(q, "third")
	must(t, db.Close())
	wantCommits(t, &o, [][]string{{"first", "commit"}, {"second", "post", "offer"}, {"third"}})
}

func TestWhatIsForLaterWaitsNoLongerThanLazyDelay(t *testing.T) {
	synced := make(chan time.Time, 1)
	opts := testOptions(t.TempDir())
	opts.LazyDelay = 5 * time.Millisecond
	db := openTest(t, opts)
	q := Attach(db, &writer{onSynced: func([]*write) { synced <- time.Now() }})
	began := time.Now()
	postLater(q, "alone")
	if waited := (<-synced).Sub(began); waited < opts.LazyDelay {
		t.Fatalf("committed after %s, before the delay of %s", waited, opts.LazyDelay)
	}
	wantValue(t, db, "alone", "v")
}

// TestAnOfferTakesAlongWhatHasWaited: else it would soon have a commit of its own.
func TestAnOfferTakesAlongWhatHasWaited(t *testing.T) {
	var o orders
	db := openTest(t, patient(t))
	q := Attach(db, o.writer())
	postLater(q, "old")
	db.mu.Lock()
	db.later.since = db.later.since.Add(-db.opts.LazyDelay / 2)
	db.mu.Unlock()
	offer(t, q, "offer")
	wantCommits(t, &o, [][]string{{"old", "offer"}})
}

// TestOffersThatWaitAreNotSentOffByWhatIsForLater: a batch with another behind it is
// committed at once, however few are in it.
func TestOffersThatWaitAreNotSentOffByWhatIsForLater(t *testing.T) {
	db, q := lingering(t, Options{Linger: time.Minute})
	now := time.Now()
	ended(db, 8, time.Minute, now)
	offered := func() *batch {
		t.Helper()
		b, _, err := q.offer(&pair{}, 100)
		must(t, err)
		return b
	}
	first := offered()
	for range laterMost {
		q.Later(&pair{}, 100)
	}
	if second := offered(); second != first {
		t.Error("an offer did not join the one that waited")
	}
	if b, _, _ := db.take(now); b != nil {
		t.Errorf("a batch of %d was taken, and more are expected", b.ops)
	}
	db.mu.Lock()
	db.pending = nil // as if the committer had taken it
	db.mu.Unlock()
	if b := offered(); b.ops != laterMost+1 {
		t.Errorf("the first of the next batch has %d with it, want %d", b.ops-1, laterMost)
	}
}

// TestAnOfferTakesAlongWhatIsHalfACommit: once no more fits into it, it would go
// behind what waits, which then goes at once.
func TestAnOfferTakesAlongWhatIsHalfACommit(t *testing.T) {
	var o orders
	opts := patient(t)
	opts.MaxCommit = 30 << 10
	db := openTest(t, opts)
	q := Attach(db, o.writer())
	q.Later(put("little", "v"), 15<<10)
	offer(t, q, "first")
	q.Later(put("more", "v"), 1<<10)
	offer(t, q, "second")
	wantCommits(t, &o, [][]string{{"first"}, {"little", "more", "second"}})
}

func TestWhatIsForLaterIsCutByBytes(t *testing.T) {
	var o orders
	opts := patient(t)
	opts.MaxCommit = 30 << 10
	db := openTest(t, opts)
	q := Attach(db, o.writer())
	big := put("big", string(make([]byte, 20<<10)))
	q.Later(big, big.size())
	q.Later(put("next", "v"), 20<<10)
	q.Later(put("never", "v"), 31<<10)
	must(t, db.Close())
	wantCommits(t, &o, [][]string{{"big"}, {"next"}})
}

func TestAFenceDropsWhatIsForLater(t *testing.T) {
	db, err := Open(t.Context(), patient(t))
	must(t, err)
	q := Attach(db, &writer{})
	postLater(q, "dropped")
	db.fence(errors.New("the test's"))
	postLater(q, "refused")
	if n := db.Stats().Queued; n != 0 {
		t.Errorf("%d are queued", n)
	}
	op := put("offer", "v")
	if err := q.Offer(t.Context(), op, op.size()); !errors.Is(err, ErrFenced) {
		t.Errorf("offer after a fence: %v", err)
	}
	bury(t, db)
}
