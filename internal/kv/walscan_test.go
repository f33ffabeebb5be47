package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/internal/testscale"
)

// trace is a database whose log is looked at between commits.
type trace struct {
	t    *testing.T
	db   *DB
	q    *Queue[*write]
	rng  *rand.Rand
	next int

	noise  *rand.ChaCha8
	before []byte // the log before this commit
}

func newTrace(t *testing.T, seed uint64) *trace {
	t.Helper()
	opts := testOptions(t.TempDir())
	opts.MemTableSize = 8 << 20
	db := openTest(t, opts)
	return &trace{t: t, db: db, q: Attach(db, &writer{}), rng: rand.New(rand.NewPCG(seed, 1)), noise: rand.NewChaCha8([32]byte{byte(seed)})}
}

// commit commits 1 to 500 messages, some with bodies that look like a log.
func (tr *trace) commit() {
	tr.t.Helper()
	tr.before = tr.log()
	w := &write{set: map[string]string{}}
	for range 1 + tr.rng.IntN(tr.rng.IntN(500)+1) {
		w.set[fmt.Sprintf("message-%08d", tr.next)] = tr.body()
		tr.next++
	}
	mustCommit(tr.t, tr.q, w)
}

func (tr *trace) body() string {
	b := make([]byte, 20+tr.rng.IntN(600))
	_, _ = tr.noise.Read(b)
	switch tr.rng.IntN(12) {
	case 0: // whole transactions of commits to come, but for the secret
		var forged []byte
		for number := tr.reached() + 1; number < tr.reached()+4; number++ {
			forged = appendEntry(forged, bitTxn, []byte("message"), number, b)
			forged = appendEntry(forged, bitTxn, sealKey, number, (&seals{}).of(number))
			forged = appendEnd(forged, number)
		}
		return string(forged)
	case 1: // their ends only
		return string(appendEnd(appendEnd(nil, tr.reached()+2), tr.reached()+3))
	case 2: // a piece of this very log
		at := tr.rng.IntN(len(tr.before))
		return string(tr.before[at:min(len(tr.before), at+2000)])
	}
	return string(b)
}

func (tr *trace) reached() uint64 { return tr.db.keeper.reached.Load() }

// log returns the newest log up to its last page that holds anything.
func (tr *trace) log() []byte {
	tr.t.Helper()
	logs, err := tr.db.dir.logs()
	must(tr.t, err)
	data, err := os.ReadFile(filepath.Join(tr.db.opts.Dir, logs[len(logs)-1].name))
	must(tr.t, err)
	end := len(data)
	for end >= 2*pageSize && zero(data[end-2*pageSize:end]) {
		end -= pageSize
	}
	return data[:end]
}

// survivors leaves any of the pages between two states, now and then torn.
func survivors(rng *rand.Rand, before, after []byte) []byte {
	dump := bytes.Clone(after)
	clear(dump)
	copy(dump, before)
	keep := rng.Float64()
	const sector = 512
	for at := 0; at < len(after); at += pageSize {
		page := after[at:min(at+pageSize, len(after))]
		switch {
		case bytes.Equal(page, dump[at:at+len(page)]):
		case rng.IntN(8) == 0:
			for s := 0; s < len(page); s += sector {
				if rng.IntN(2) == 0 {
					copy(dump[at+s:at+min(s+sector, len(page))], page[s:])
				}
			}
		case rng.Float64() < keep:
			copy(dump[at:], page)
		}
	}
	return dump
}

// judged inspects logs as Open does.
func judged(sealed *seals, highWater uint64, logs ...[]byte) *inspection {
	i := &inspection{sealed: sealed, head: head{highWater: highWater}}
	for n, data := range logs {
		i.judge(&walFile{name: fmt.Sprint(n, ".mem")}, data)
	}
	i.judgeEnd()
	return i
}

// TestATornTailIsNoDamage cuts the power in the middle of commits: whatever
// pages of the last one survive, all before it is there and nothing is reported.
func TestATornTailIsNoDamage(t *testing.T) {
	first, dumps, torn, whole := testscale.NamedSeed(t), 0, 0, 0
	for seed := range uint64(testscale.Between(2, 8)) {
		tr := newTrace(t, first+seed)
		tr.commit()
		for range testscale.Between(10, 20) {
			before, reached := tr.log(), tr.reached()
			tr.commit()
			after := tr.log()
			for range 20 {
				dumps++
				i := judged(tr.db.sealed, reached, survivors(tr.rng, before, after))
				if len(i.found) > 0 || i.last < reached {
					t.Errorf("dump %d of commit %d: ends at %d, %s", dumps, reached+1, i.last, describe(i.found))
				}
				if i.torn != nil {
					torn++
				}
				if i.last == reached+1 {
					whole++
				}
			}
		}
	}
	t.Logf("%d dumps, %d torn, %d with all of the last commit, no report", dumps, torn, whole)
	if torn < dumps/4 {
		t.Errorf("too few torn ones prove nothing")
	}
}

// TestATornTailAfterARotation is the same where the commit began a new log.
func TestATornTailAfterARotation(t *testing.T) {
	tr := newTrace(t, 7+testscale.NamedSeed(t))
	for range 5 {
		tr.commit()
	}
	old, reached := tr.log(), tr.reached()
	fresh := rotated(t, tr.db.sealed, reached+1, 40)
	for n := range testscale.Between(100, 1000) {
		i := judged(tr.db.sealed, reached, old, survivors(tr.rng, nil, fresh))
		if len(i.found) > 0 || i.last < reached {
			t.Errorf("dump %d: ends at %d, %s", n, i.last, describe(i.found))
		}
	}
}

// rotated is a log that begins with a commit of so many entries.
func rotated(t *testing.T, s *seals, number uint64, entries int) []byte {
	t.Helper()
	log := make([]byte, walHeader)
	for n := range entries {
		log = appendEntry(log, bitTxn, []byte(numbered(n)), number, bytes.Repeat([]byte{byte(n)}, 500))
	}
	log = appendEntry(log, bitTxn, sealKey, number, s.of(number))
	return append(appendEnd(log, number), make([]byte, pageSize)...)
}

// TestFlipsInALogAreReported flips bits of two logs. Only the last commit can
// look like a torn one; the head tells of it.
func TestFlipsInALogAreReported(t *testing.T) {
	tr := newTrace(t, 3+testscale.NamedSeed(t))
	for range 6 {
		tr.commit()
	}
	old := tr.log()
	for range 5 {
		tr.commit()
	}
	all, reached := tr.log(), tr.reached()
	end := judged(tr.db.sealed, reached, old).last
	next := walHeader
	scan := scanLog(old, span{0, 1000}, tr.db.sealed)
	newer := append(bytes.Clone(all[:next]), all[scan.end:]...) // as if it had been rotated
	last := lastTransaction(t, newer)
	flips, blind := 0, 0
	for range testscale.Between(300, 4000) {
		logs := [][]byte{old[:scan.end:scan.end], bytes.Clone(newer)}
		n := tr.rng.IntN(2)
		logs[n] = bytes.Clone(logs[n])
		live := len(bytes.TrimRight(logs[n], "\x00"))
		at := walHeader + tr.rng.IntN(live-walHeader)
		logs[n][at] ^= 1 << tr.rng.IntN(8)
		flips++
		if i := judged(tr.db.sealed, reached, logs...); len(i.found) == 0 {
			t.Errorf("flip at %d of log %d is not reported", at, n)
		}
		if i := judged(tr.db.sealed, reached-1, logs...); len(i.found) == 0 {
			blind++
			if n != 1 || at < last {
				t.Errorf("flip at %d of log %d, not in the last commit, needs the head", at, n)
			}
		}
	}
	t.Logf("%d flips in commits 1 to %d and %d to %d: all reported, %d of them (in the last commit) by the head only", flips, end, end+1, reached, blind)
	if blind == 0 {
		t.Error("no flip hit the last commit")
	}
}

func lastTransaction(t *testing.T, log []byte) (begins int) {
	t.Helper()
	for at := walHeader; ; {
		last, ok := readTransaction(log[at:])
		if !ok {
			return begins
		}
		begins, at = at, at+last.size
	}
}

// TestCutLogs cuts logs at the ends of transactions, which leaves valid logs.
func TestCutLogs(t *testing.T) {
	s := newSeals()
	log := append([]byte{}, zeros[:walHeader]...)
	var ends []int
	for number := uint64(1); number <= 4; number++ {
		one := rotated(t, s, number, 3)
		log = append(log, one[walHeader:len(one)-pageSize]...)
		ends = append(ends, len(log))
	}
	later := rotated(t, s, 5, 3)
	for n, end := range ends {
		if i := judged(s, 4, log[:end]); (len(i.found) > 0) != (n < 3) {
			t.Errorf("cut after %d commits of 4: %s", n+1, describe(i.found))
		}
		if i := judged(s, 0, log[:end], later); (len(i.found) > 0) != (n < 3) {
			t.Errorf("cut after %d commits, commit 5 in the next log: %s", n+1, describe(i.found))
		}
	}
	if i := judged(s, 0, later); len(i.found) == 0 {
		t.Error("a log is gone and nothing is reported")
	}
}

// threadTime is what the processor has done for the thread.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// TestScanTakesLinearTime scans a log full of what looks like ends and seals.
func TestScanTakesLinearTime(t *testing.T) {
	broken := appendEnd(appendEntry(nil, bitTxn, sealKey, 7, make([]byte, sealSize)), 7)
	broken[len(broken)-1]++
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took := func(size int) time.Duration { // of the processor: others use the machine as well
		data, least := []byte(strings.Repeat(string(broken), size/len(broken))), time.Hour
		for range 5 {
			began := threadTime(t)
			scanLog(data, span{1, 1000}, newSeals())
			least = min(least, threadTime(t)-began)
		}
		return least
	}
	took(1 << 20)
	if small, large := took(2<<20), took(32<<20); large > 64*small {
		t.Errorf("2 MiB take %s, 32 MiB %s", small, large)
	}
}

func FuzzScanLog(f *testing.F) {
	s := &seals{}
	log := rotated(&testing.T{}, s, 1, 3)
	f.Add(log)
	f.Add(append(bytes.TrimRight(log, "\x00"), rotated(&testing.T{}, s, 2, 2)[walHeader:]...))
	f.Add(append(make([]byte, 100), rotated(&testing.T{}, s, 9, 2)[walHeader:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := scanLog(data, span{0, 1000}, newSeals())
		if r.proof != 0 {
			t.Fatalf("believes a seal that it did not make: %+v", r)
		}
		if r.end > r.size || r.size != int64(len(data)) {
			t.Fatalf("%+v of %d bytes", r, len(data))
		}
		if again := scanLog(data[:r.end], span{0, 1000}, s); again.first != r.first || again.last != r.last || !again.blank {
			t.Fatalf("%+v, and of its own prefix %+v", r, again)
		}
		at, err := walk(bytes.NewReader(data), min(walHeader, r.size), r.last)
		if err != nil || r.last > 0 && at < r.end {
			t.Fatalf("walks to %d, %v; %+v", at, err, r)
		}
	})
}
