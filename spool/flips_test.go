package spool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// specimen is a spool as a killed process leaves it, with everything in it: tables
// in two levels, a log, HEAD. Each trial damages a copy.
type specimen struct {
	dir  string
	keys *keyring.Ring
	ids  []message.ID          // of all that were accepted
	used []spool.Draft         // under idempotency keys
	kept map[string]message.ID // by idempotency key
	want logical
}

func specimenOf(t *testing.T, keys *keyring.Ring) *specimen {
	t.Helper()
	s := &specimen{keys: keys, kept: map[string]message.ID{}}
	r := newRigOn(t, spool.Options{Keys: keys}, kv.Options{MemTableSize: 1 << 20})
	s.fill(r, 1)
	for range 5 { // as many tables as make a compaction
		s.fill(r, 1)
		r.reopen()
	}
	awaitCompaction(t, r.dbDir())
	for range 2 { // and two above what that made
		s.fill(r, 1)
		r.reopen()
	}
	s.fill(r, 1)
	awaitHead(t, r.dbDir())
	r.die()
	s.dir = r.dir
	whole := s.copy(t)
	whole.open()
	var err error
	s.want, err = logicalOf(t, whole.Spool, s.ids)
	whole.close()
	if diff := s.want.differs(s.want); diff != "" || err != nil || len(s.want.held) < 50 || len(s.want.held) == len(s.ids) {
		t.Fatal(diff, err, len(s.want.held), len(s.ids))
	}
	tables, err := filepath.Glob(filepath.Join(r.dbDir(), "*.sst"))
	if err != nil || len(tables) < 3 {
		t.Fatal(tables, err)
	}
	return s
}

// fill does some of everything: accepts, alone and in batches, small and large,
// with ordering keys and idempotency keys, delayed; confirms, buries, cancels, holds.
func (s *specimen) fill(r *rig, rounds int) {
	r.t.Helper()
	for range rounds {
		for n := range 7 {
			var all []spool.Draft
			for i := range 1 + n%4*3 {
				all = append(all, s.draft(n, i))
			}
			for i, got := range r.accept(all...) {
				s.ids = append(s.ids, got.ID)
				if key := all[i].DedupeKey; key != "" {
					s.used, s.kept[key] = append(s.used, all[i]), got.ID
				}
			}
		}
		s.delay(r)
		s.prepare(r)
		cancelled := r.accept(draft("t", "never to be sent"), draft("t", "to wait"))
		s.ids = append(s.ids, cancelled[0].ID, cancelled[1].ID)
		if _, err := r.Cancel(r.t.(*testing.T).Context(), cancelled[0].ID); err != nil {
			r.t.Fatal(err)
		}
		r.putOnHold(cancelled[1].ID)
		leases := r.lease("t", 0)
		third := len(leases) / 3
		r.bury(leases[third])
		r.Release(leases[third+1:])
		r.confirm(leases[:third])
		leases = r.lease("k", 0)
		third = len(leases) / 3
		r.confirm(leases[:third])
		r.Release(leases[third:])
		r.Flush()
	}
}

func (s *specimen) draft(n, i int) spool.Draft {
	number := len(s.ids) + i
	body := fmt.Sprintf("message %d %s", number, strings.Repeat("x", 40*(number%23)))
	d := draft("t", body)
	switch {
	case n%3 == 1:
		d = keyed("k", body, fmt.Sprint("key ", number%3))
		d.Properties = []message.Property{{Name: "number", Value: fmt.Sprint(number)}}
	case n == 6 && i == 0:
		d = draft("big", body+strings.Repeat("payload ", 5000))
	}
	if number%5 == 0 {
		d = under(fmt.Sprint("idempotent ", number), d)
	}
	return d
}

// awaitCompaction waits until fewer tables are left than a compaction takes in.
func awaitCompaction(t *testing.T, dir string) {
	t.Helper()
	for range 3000 {
		if tables, err := filepath.Glob(filepath.Join(dir, "*.sst")); err != nil || len(tables) < 5 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no compaction")
}

// awaitHead waits until HEAD tells of the last commit in the log: what is not in
// it yet, the published blind spot, is not what this is about.
func awaitHead(t *testing.T, dir string) {
	t.Helper()
	last := lastCommit(t, dir)
	for range 1000 {
		data, err := os.ReadFile(filepath.Join(dir, "HEAD"))
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at+24 < len(data); at += 4096 {
			if binary.BigEndian.Uint64(data[at+24:]) >= last {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("HEAD does not come to commit %d", last)
}

// lastCommit is the largest version of the entries that end a transaction.
func lastCommit(t *testing.T, dir string) (last uint64) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		t.Fatal(err)
	}
	end := []byte("!badger!txn")
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := bytes.Index(data, end); at >= 0 && len(data) > len(end)+8; at = bytes.Index(data, end) {
			data = data[at+len(end):]
			last = max(last, math.MaxUint64-binary.BigEndian.Uint64(data))
		}
	}
	if last == 0 {
		t.Fatal("no commit in", logs)
	}
	return last
}

// copy is a rig on another copy of the specimen; the caller opens and closes it.
func (s *specimen) copy(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: scratch(t), life: 1, opts: spool.Options{Keys: s.keys}, kv: kv.Options{MemTableSize: 1 << 20}}
	if err := errors.Join(copyFile(filepath.Join(s.dir, "spool.id"), filepath.Join(r.dir, "spool.id")), copyDir(filepath.Join(s.dir, "db1"), r.dbDir())); err != nil {
		t.Fatal(err)
	}
	return r
}

// scratch is a directory in memory, if there is one: nothing here is about syncs.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "remora-flips") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// stratum is a kind of live bytes.
type stratum struct {
	name  string
	open  bool // they are also damaged while the spool is open, which reads them
	twin  int  // so many bytes further is another copy, which says nearly the same: a second before; 0: there is none
	both  bool // both copies are damaged
	spans func(dir string) []span
}

// span is live bytes of a file.
type span struct {
	path     string
	from, to int
}

func strata() []stratum {
	tables := func(part func(blocks, index, size int) (from, to int)) func(dir string) []span {
		return func(dir string) (all []span) {
			files, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
			for _, path := range files {
				data, _ := os.ReadFile(path)
				blocks, index := partsOf(data)
				from, to := part(blocks, index, len(data))
				all = append(all, span{path, from, to})
			}
			return all
		}
	}
	return []stratum{
		{name: "log", spans: func(dir string) (all []span) {
			files, _ := filepath.Glob(filepath.Join(dir, "*.mem"))
			for _, path := range files {
				data, _ := os.ReadFile(path)
				if live := len(bytes.TrimRight(data, "\x00")); live > 20 {
					all = append(all, span{path, 0, live})
				}
			}
			return all
		}},
		{name: "table data", open: true, spans: tables(func(blocks, _, _ int) (int, int) { return 0, blocks })},
		{name: "table index", open: true, spans: tables(func(blocks, index, _ int) (int, int) { return blocks, index })},
		{name: "table footer", open: true, spans: tables(func(_, index, size int) (int, int) { return index, size })},
		{name: "manifest", spans: func(dir string) []span {
			st, _ := os.Stat(filepath.Join(dir, "MANIFEST"))
			return []span{{filepath.Join(dir, "MANIFEST"), 0, int(st.Size())}}
		}},
		{name: "head", twin: 4096, spans: func(dir string) []span {
			return []span{{filepath.Join(dir, "HEAD"), 0, 8 + 5*8 + 2 + 32 + 2 + 256 + 4}}
		}},
	}
}

// partsOf returns where a table's blocks end, and where its index does.
func partsOf(data []byte) (blocks, index int) {
	at := len(data) - 4
	at -= int(binary.BigEndian.Uint32(data[at:])) + 4
	return at - int(binary.BigEndian.Uint32(data[at:])), at
}

// damage flips a bit of a span, or cuts the file there. Of two copies it damages either,
// or both.
func (s stratum) damage(t *testing.T, rng *rand.Rand, dir string, cuts bool) (what string) {
	t.Helper()
	spans := s.spans(dir)
	total := 0
	for _, x := range spans {
		total += x.to - x.from
	}
	at := rng.IntN(total)
	for _, x := range spans {
		if n := x.to - x.from; at >= n {
			at -= n
			continue
		}
		at += x.from
		name := filepath.Base(x.path)
		if s.twin > 0 && !s.both {
			at += s.twin * rng.IntN(2)
		}
		if cuts && rng.IntN(4) == 0 {
			if err := os.Truncate(x.path, int64(at)); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%s cut at %d", name, at)
		}
		bit := byte(1) << rng.IntN(8)
		flipBits(t, x.path, at, bit)
		if s.both {
			flipBits(t, x.path, at+s.twin, bit)
		}
		return fmt.Sprintf("%s byte %d bit %#x, both copies %v", name, at, bit, s.both)
	}
	panic("beyond all spans")
}

// tally counts what came of the trials of a stratum.
type tally struct {
	mu sync.Mutex

	trials, harmless, reported, secondStart int

	lost       int // messages, by flips: at most one each
	cuts, gone int // files that were cut, and the messages lost with that
	again      int // messages in an earlier state: by cuts alone
}

func (n *tally) add(x *tally) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trials, n.harmless, n.reported = n.trials+x.trials, n.harmless+x.harmless, n.reported+x.reported
	n.lost, n.again, n.secondStart = n.lost+x.lost, n.again+x.again, n.secondStart+x.secondStart
	n.cuts, n.gone = n.cuts+x.cuts, n.gone+x.gone
}

// TestFlipsCostWhatIsReported flips bits of, and cuts, every kind of live bytes
// of a spool, closed and while it is open. Each is harmless: then everything that
// the spool tells is as it was, byte for byte. Or it is reported, with what it
// cost: what is missing is what is named, and nothing else is another than it
// was. Two starts later at most the spool is healthy.
func TestFlipsCostWhatIsReported(t *testing.T) {
	specimens := []*specimen{specimenOf(t, nil), specimenOf(t, ring(1))}
	all, tallies := strata(), map[string]*tally{}
	type trial struct {
		stratum
		specimen *specimen
		running  bool
		seed     uint64
	}
	var trials []trial
	short := 500
	if underRace {
		short = 36 // six of each stratum
	}
	first := testscale.NamedSeed(t)
	for n := range uint64(testscale.Between(short, 10_000)) {
		seed := first + n // the whole trial follows from it
		s, round := all[seed%uint64(len(all))], seed/uint64(len(all))
		s.both = s.twin > 0 && round%4 > 0 // one of two is harmless: the other one tells
		trials = append(trials, trial{s, specimens[round%5/4], s.open && round%3 == 0, seed})
		tallies[s.name] = &tally{}
	}
	t.Run("trials", func(t *testing.T) {
		workers := 2 * runtime.GOMAXPROCS(0)
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				for n := w; n < len(trials); n += workers {
					x := trials[n]
					x.specimen.try(t, x.stratum, x.running, x.seed, tallies[x.name])
				}
			})
		}
	})
	for _, s := range all {
		n := tallies[s.name]
		t.Logf("%s: %d trials, %d harmless, %d reported, %d by a second start; flips lost %d messages; %d cuts lost %d, and %d are in an earlier state",
			s.name, n.trials, n.harmless, n.reported, n.secondStart, n.lost, n.cuts, n.gone, n.again)
		if n.harmless*2 > n.trials {
			t.Errorf("%s: more than half is harmless: that is no test", s.name)
		}
	}
}

func (s *specimen) try(t *testing.T, where stratum, running bool, seed uint64, n *tally) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 4))
	r := s.copy(t)
	defer func() { _ = os.RemoveAll(r.dir) }()
	what := ""
	if !running {
		what = where.damage(t, rng, r.dbDir(), true)
	}
	wrongf := func(format string, args ...any) {
		t.Errorf("%s, seed %d, encrypted %v, running %v: %s: %s", where.name, seed, s.keys != nil, running, what, fmt.Sprintf(format, args...))
	}
	if err := r.start(); err != nil {
		wrongf("%v", err)
		return
	}
	if running {
		r.rests()
		what = where.damage(t, rng, r.dbDir(), false)
	}
	defer r.close()
	got, damaged := logicalOf(t, r.Spool, s.ids)
	if err := r.VerifyNow(); err != nil {
		wrongf("verify: %v", err)
	}
	seen := len(r.Damage().Seen) > 0
	if seen {
		for id, line := range got.held { // what can be read is right
			if was := s.want.held[id]; was != line {
				wrongf("before the second start: %s is %s, was %s", id, line, was)
			}
		}
		r.close()
		if err := r.start(); err != nil {
			wrongf("second start: %v", err)
			return
		}
		got, damaged = logicalOf(t, r.Spool, s.ids)
	}
	if damaged != nil {
		wrongf("%v", damaged)
	}
	state := r.Damage()
	if !state.Pending() {
		wrong := append(order(t, r.Spool, got), s.repeat(r, false)...)
		if diff := got.differs(s.want); diff != "" || len(wrong) > 0 {
			wrongf("nothing is reported: %s %v", diff, wrong)
		}
		n.add(&tally{trials: 1, harmless: 1})
		return
	}
	cut := strings.Contains(what, "cut")
	wrong, again := got.judge(s.want, state.Reports, cut)
	if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
		wrongf("acknowledge: %v", err)
	}
	if err := r.VerifyNow(); err != nil {
		wrongf("verify: %v", err)
	}
	if a, err := r.Audit(t.Context()); err != nil || !a.Balanced || r.Damage().Pending() {
		wrong = append(wrong, fmt.Sprintf("not healthy: %+v, missing %v, %v; %v", a.Damage, a.Missing, err, r.Damage().Seen))
	}
	wrong = append(wrong, order(t, r.Spool, got)...)
	wrong = append(wrong, s.repeat(r, true)...)
	for _, w := range wrong {
		wrongf("%s\n\treported %+v", w, state.Reports)
	}
	cost := &tally{trials: 1, reported: 1, again: again}
	for _, d := range state.Reports {
		cost.lost += int(d.Lost)
	}
	if cut {
		cost.cuts, cost.lost, cost.gone = 1, 0, cost.lost
	}
	if seen {
		cost.secondStart++
	}
	n.add(cost)
}

// start opens the spool as a sidecar does: once more, if that is asked for.
func (r *rig) start() error {
	err := r.tryOpen()
	if errors.Is(err, kv.ErrDamaged) {
		err = r.tryOpen()
	}
	return err
}

// repeat uses each idempotency key once more: it gives the message that it gave.
// One may be forgotten with damage.
func (s *specimen) repeat(r *rig, damaged bool) (wrong []string) {
	for some := range slices.Chunk(s.used, 15) {
		all, err := r.Append(context.Background(), some)
		if err != nil {
			return append(wrong, fmt.Sprintf("keys from %s: %v", some[0].DedupeKey, err))
		}
		for n, got := range all {
			key := some[n].DedupeKey
			if got.Duplicate && got.ID != s.kept[key] || !got.Duplicate && !damaged {
				wrong = append(wrong, fmt.Sprintf("key %s: %s, duplicate %v, first %s", key, got.ID, got.Duplicate, s.kept[key]))
			}
		}
	}
	return wrong
}
