package sidecarproof

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// form is a way to run a sidecar on a file system with power, under traffic.
type form struct {
	program     program
	sizes       sizes
	unreachable bool // messages stay in the spool; else they go to a broker on the same mount
	messages    int
	every       int // so many operations is one cut, in the mean
	least       int // states that prove something
	seed        uint64
	keyFile     string // encrypts the spool; then unreachable
}

// session is one run of a form.
type session struct {
	form

	fs      *powerfs.FS
	side    *process
	traffic *traffic
	rng     *rand.Rand
	next    int // operation to cut at
	rare    int // operations of flushes and compactions so far
}

func (f form) start(t *testing.T) *session {
	t.Helper()
	s := &session{form: f, fs: powerfs.Mount(t, powerfs.Options{}), rng: rand.New(rand.NewPCG(f.seed, 3))}
	s.fs.HoldAt(1)
	s.side = launch(t, f.setup(s.fs), s.fs.Start)
	s.traffic = &traffic{journal: &journal{}, sizes: f.sizes, until: f.messages, side: func() *client { return s.side.client }}
	return s
}

func (f form) setup(fs *powerfs.FS) setup {
	return setup{program: f.program, dir: filepath.Join(fs.Dir(), "data"), unreachable: f.unreachable, set: encryptedBy(f.keyFile)}
}

// states stops the file system before each operation, and yields the states of
// some, until all messages are sent and answered. No sync can end meanwhile, so
// what clients were answered by then must be in the states.
func (s *session) states(t *testing.T, yield func(state) bool) {
	t.Helper()
	over := s.begin(t)
	defer func() {
		s.fs.Cut() // lets clients go
		s.side.kill()
		<-over
	}()
	for {
		select {
		case held := <-s.fs.Held():
			if !s.take(held, yield) {
				return
			}
			s.fs.Resume(1)
		case <-over:
			s.fs.Resume(0)
			return
		case <-time.After(patience):
			t.Errorf("the sidecar got stuck after %d messages\n%s", s.traffic.len(), s.side.log.tail())
			return
		}
	}
}

// begin starts the traffic as soon as the sidecar is ready. The channel is
// closed when all is sent and answered, or the sidecar is gone.
func (s *session) begin(t *testing.T) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := s.side.await(); err != nil {
			t.Error(err)
			return
		}
		s.traffic.start(s.seed)
		s.traffic.running.Wait()
	}()
	return over
}

// take yields the states that a cut at the held operation could leave.
func (s *session) take(held disk.Event, yield func(state) bool) bool {
	if !s.wanted(held) {
		return true
	}
	survivors := []disk.Survivors{disk.None, disk.Random(uint64(held.Ops))}
	if s.rng.IntN(2) == 0 {
		survivors[1] = disk.All
	}
	dirs := s.fs.Survive(survivors...)
	fates := s.traffic.now()
	for i, dir := range dirs {
		what := fmt.Sprintf("operation %d (%s %s), %s", held.Ops, held.Held.Kind, held.Held.Path, survivors[i])
		if !yield(state{dir: dir, what: what, fates: append([]fate(nil), fates...), sizes: s.sizes, keyFile: s.keyFile}) {
			return false
		}
	}
	return true
}

// wanted chooses operations to cut at. Those of rotations, flushes and
// compactions are rare, and chosen more often.
func (s *session) wanted(held disk.Event) bool {
	if isRare(held.Held) {
		if s.rare++; s.rare%max(1, s.every/8) == 0 {
			return true
		}
	}
	if held.Ops < s.next {
		return false
	}
	s.next = held.Ops + 1 + s.rng.IntN(2*s.every-1)
	return true
}

func isRare(op *disk.Op) bool {
	name := filepath.Base(op.Path)
	return strings.HasSuffix(name, ".sst") || strings.HasPrefix(name, "MANIFEST") || op.Kind == "unlink" || op.Kind == "create"
}

// requireEvents fails a run too short to prove anything.
func (s *session) requireEvents(t *testing.T) {
	t.Helper()
	count := map[string]int{}
	for _, op := range s.fs.History() {
		if strings.Contains(op.Path, "data/spool/") {
			count[op.Kind+" "+filepath.Ext(op.Path)]++
		}
	}
	accepted, cancelled := totals(s.traffic.now())
	t.Logf("%d operations (%d rare); %d messages accepted, %d cancelled; %d logs, %d tables written, %d compacted away",
		s.fs.Ops(), s.rare, accepted, cancelled, count["create .mem"], count["create .sst"], count["unlink .sst"])
	if count["create .mem"] < 4 || count["create .sst"] < 3 || count["unlink .sst"] < 1 {
		t.Errorf("the run needs 3 rotations of the spool's log with their flushes and a compaction")
	}
	if accepted < s.messages*9/10 || s.unreachable && cancelled == 0 {
		t.Errorf("%d of %d messages were accepted and %d cancelled", accepted, s.messages, cancelled)
	}
	deals := dealsOf(s.traffic.now())
	t.Logf("transactions: %d committed, %d rolled back, %d open", deals[isCommitted], deals[isRolledBack], deals[open])
	if deals[isCommitted] == 0 || deals[isRolledBack] == 0 || deals[open] == 0 {
		t.Errorf("no transaction was prepared, committed, or rolled back")
	}
	for _, u := range s.traffic.untrue {
		t.Error(u)
	}
}

// examiners look at states while the run goes on.
type examiners struct {
	t       *testing.T
	work    chan state
	running sync.WaitGroup

	mu       sync.Mutex
	examined int
	findings int
	lost     bool
}

const atATime = 2

func examineAll(t *testing.T) *examiners {
	t.Helper()
	shipped.path(t) // fails here if it fails
	x := &examiners{t: t, work: make(chan state, atATime)}
	for range atATime {
		x.running.Go(x.run)
	}
	return x
}

func (x *examiners) run() {
	for s := range x.work {
		r := examine(x.t, s)
		x.mu.Lock()
		x.examined++
		x.findings += len(r.findings)
		x.lost = x.lost || r.has(lost)
		x.mu.Unlock()
		for _, f := range r.findings {
			x.t.Logf("%s: %s: %s", s.what, f.kind, f.text)
		}
	}
}

// end waits for the last states and returns how many there were.
func (x *examiners) end() int {
	close(x.work)
	x.running.Wait()
	return x.examined
}

func (x *examiners) broken() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.findings > 0
}

func (x *examiners) foundLoss() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lost
}

// TestPowerLoss cuts the power at operations of a sidecar under traffic.
func TestPowerLoss(t *testing.T) {
	other := 8 * testscale.NamedSeed(t)
	forms := map[string]form{
		"waiting in the spool": {
			program: small, sizes: smallSizes, unreachable: true, messages: testscale.Between(420, 2000), every: testscale.Between(28, 1), least: testscale.Between(150, 10_000), seed: 1 + other,
		},
		"on the way to the broker": {
			program: small, sizes: smallSizes, messages: testscale.Between(420, 2000), every: testscale.Between(28, 1), least: testscale.Between(150, 10_000), seed: 2 + other,
		},
	}
	if testscale.Long() {
		forms["the memtable as it is"] = form{program: shipped, sizes: fullSizes, unreachable: true, messages: 900, every: 400, least: 20, seed: 3 + other}
	}
	for name, f := range forms {
		t.Run(name, f.prove)
	}
}

// prove looks at the states of a run.
func (f form) prove(t *testing.T) {
	s := f.start(t)
	x := examineAll(t)
	s.states(t, func(one state) bool { x.work <- one; return !x.broken() })
	t.Logf("%d states: %d findings", x.end(), x.findings)
	if x.findings > 0 {
		t.Fatalf("the promise was broken")
	}
	if x.examined < f.least {
		t.Errorf("too few states prove nothing")
	}
	s.requireEvents(t)
}

// TestPowerLossOfAnEncryptedSpool is the same with a key. What is left has to
// be there, balance, and open with that key.
func TestPowerLossOfAnEncryptedSpool(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keyFile, []byte(strings.Repeat("5e", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	form{
		program: small, sizes: smallSizes, unreachable: true, keyFile: keyFile, seed: 4 + 8*testscale.NamedSeed(t),
		messages: testscale.Between(420, 2000), every: testscale.Between(60, 4), least: testscale.Between(40, 2000),
	}.prove(t)
}

// TestPowerLossWithoutSyncs is the same search where there is something to
// find. It ends at the first loss.
func TestPowerLossWithoutSyncs(t *testing.T) {
	s := form{program: smallLossy, sizes: smallSizes, unreachable: true, messages: 2000, every: 40, seed: 1}.start(t)
	x := examineAll(t)
	s.states(t, func(one state) bool { x.work <- one; return !x.foundLoss() })
	n := x.end()
	if !x.lost {
		t.Fatalf("no loss in %d states: the same search proves nothing about the synced sidecar", n)
	}
	t.Logf("lost messages were found, in one of %d states", n)
}
