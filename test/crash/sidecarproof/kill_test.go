package sidecarproof

import (
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// littleSizes keep what thousands of messages take small.
var littleSizes = sizes{large: 4 << 10, huge: 90 << 10}

// succession is the sidecars that follow each other on one directory.
type succession struct {
	mu   sync.Mutex
	now  *client
	next chan struct{} // closed when there is another, or when there will be none
}

func (s *succession) client() *client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// await waits for the next one.
func (s *succession) await() {
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	<-next
}

// awaitAfter waits until one is in use that is not c.
func (s *succession) awaitAfter(c *client) {
	s.mu.Lock()
	now, next := s.now, s.next
	s.mu.Unlock()
	if now == c {
		<-next
	}
}

// follow makes c the one in use.
func (s *succession) follow(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = c
	close(s.next)
	s.next = make(chan struct{})
}

// tablesOf is how many tables a spool has ever written, by their numbers, and how many
// of them are gone: each by a compaction.
func tablesOf(t *testing.T, dir string) (written, gone int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "data", "spool", "db", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".sst"))
		if err != nil {
			t.Fatal(err)
		}
		written = max(written, n)
	}
	return written, written - len(names)
}

// TestKills kills a sidecar at random, while it accepts, forwards to the
// embedded broker and delivers. No life is long enough to fill a log of 8 MiB, so the
// rotations are those of the starts: each writes the log that it finds to a table and
// begins another. TestPowerLoss has those of a log that is full.
func TestKills(t *testing.T) {
	kills := testscale.Between(200, 10_000)
	dir, app := t.TempDir(), newApplication(t, littleSizes)
	rng := rand.New(rand.NewPCG(1, 5+testscale.NamedSeed(t)))
	how := setup{program: shipped, dir: filepath.Join(dir, "data"), subscriptions: subscribe(app)}
	line, j := &succession{next: make(chan struct{})}, &journal{}
	app.tells = j.answer
	w := &traffic{journal: j, sizes: littleSizes, until: 1 << 30, asked: app.server.URL + "/tx", side: line.client, gone: line.await}

	side := run(t, how, spawn(t))
	line.follow(side.client)
	w.start(1)
	for range kills {
		time.Sleep(time.Duration(20+rng.IntN(300)) * time.Millisecond)
		side.kill()
		if rng.IntN(4) == 0 { // and again while it recovers
			side = launch(t, how, spawn(t))
			time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
			side.kill()
		}
		side = run(t, how, spawn(t))
		if l, err := side.ledger(); err != nil || !l.Balanced {
			t.Errorf("after a kill the ledger does not balance: %+v, %v", l, err)
		}
		line.follow(side.client)
	}
	w.stop()
	side.kill()
	written, gone := tablesOf(t, dir)
	t.Logf("%d tables written, %d compacted away", written, gone)
	if written < 3 || gone < 1 {
		t.Errorf("the run needs 3 rotations of the spool's log with their flushes and a compaction")
	}
	for _, u := range w.untrue {
		t.Error(u)
	}
	judgeKills(t, kills, state{dir: dir, what: "after the kills", fates: w.now(), sizes: littleSizes, reply: app, asked: w.asked})
}

func judgeKills(t *testing.T, kills int, s state) {
	t.Helper()
	deals := dealsOf(s.fates)
	r := examine(t, s)
	for _, f := range r.findings {
		t.Errorf("%s: %s", f.kind, f.text)
	}
	accepted, cancelled := totals(s.fates)
	handled, calls := len(r.calls), 0
	for _, c := range r.calls {
		calls += len(c)
	}
	t.Logf("%d kills: of %d messages %d accepted, %d cancelled; %d handled, %d calls repeated", kills, len(s.fates), accepted, cancelled, handled, calls-handled)
	t.Logf("%d transactions answered as committed, %d as rolled back; %d and %d left to who is asked, or not answered; %d open",
		deals[isCommitted], deals[isRolledBack], deals[maybeCommitted], deals[maybeRolledBack], deals[open])
	for d := open; d <= isRolledBack; d++ {
		if deals[d] < kills/20 {
			t.Errorf("too little was done with transactions between the kills")
		}
	}
	if accepted < 10*kills || handled < accepted-cancelled-len(s.fates)/10 {
		t.Errorf("too little was done between the kills")
	}
}
