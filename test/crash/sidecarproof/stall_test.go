package sidecarproof

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// bigSizes are what hostile clients post.
var bigSizes = sizes{large: 1 << 20, huge: 4000 << 10}

// forEver is a stall that only the test ends.
const forEver = time.Hour

// inTime is what an answer may take beyond spool.sync_timeout, on a machine that
// has other work.
const inTime = 20 * time.Second

// stalling is a sidecar on a disk whose syncs wait, and what its clients know.
type stalling struct {
	*scene
	*journal
	timeout time.Duration // spool.sync_timeout
	ingest  int           // memory.ingest in MiB

	mu      sync.Mutex
	over    bool
	longest time.Duration  // until an answer
	codes   map[string]int // answers, by code and what they say of stored
}

func newStalling(t *testing.T, timeout time.Duration) *stalling {
	t.Helper()
	s := &stalling{
		scene: &scene{t: t, fs: powerfs.Mount(t, powerfs.Options{})}, journal: &journal{},
		timeout: timeout, ingest: 16, codes: map[string]int{},
	}
	s.side = run(t, setup{
		program: shipped, dir: filepath.Join(s.fs.Dir(), "data"), unreachable: true,
		set: []string{"spool.sync_timeout=" + timeout.String(), fmt.Sprintf("memory.ingest=%dMiB", s.ingest), "spool.topic_share=100%", "drain.timeout=1s"},
	}, s.fs.Start)
	return s
}

// offer posts message n, and notes what came of it and after which time.
func (s *stalling) offer(n int) receipt {
	began := time.Now()
	r, err := s.side.publish(bigSizes.message(n))
	took := time.Since(began)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = max(s.longest, took)
	if err != nil {
		s.codes[err.Error()]++
		return r
	}
	s.codes[fmt.Sprintf("%d %s, stored %v", r.Status, r.Code, r.Stored)]++
	s.set(n, func(f *fate) {
		switch {
		case r.accepted():
			f.id = r.ID
		case r.refused():
			f.refused = true
		}
	})
	return r
}

// accept posts new messages until so many are accepted.
func (s *stalling) accept(n int) {
	s.t.Helper()
	s.eventually("messages are accepted", func() bool {
		if s.offer(s.send(1)[0]).accepted() {
			n--
		}
		return n == 0
	})
}

// keyed is the number of a new message that has an idempotency key, or has none. It
// is small: of a large one the commit that stalls has the chunks, and not the record.
func (s *stalling) keyed(has bool) int {
	for {
		if n := s.send(1)[0]; has == (bigSizes.message(n).idempotency != "") && len(bigSizes.message(n).body) < 16<<10 {
			return n
		}
		s.set(s.len()-1, func(f *fate) { f.sent = false })
	}
}

// besiege has clients post and cancel until the returned function is called.
func (s *stalling) besiege(clients int) (end func()) {
	var running sync.WaitGroup
	for n := range uint64(clients) {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(3, n))
			for !s.isOver() {
				if r := s.offer(s.send(1)[0]); !r.accepted() {
					time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond) // they could do nothing else all day
				}
			}
		})
	}
	return func() {
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
		running.Wait()
	}
}

func (s *stalling) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// answers counts those of a code, whatever they say of stored.
func (s *stalling) answers(code string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, count := range s.codes {
		if strings.Contains(text, code) {
			n += count
		}
	}
	return n
}

// health returns the status of a path of the health listener, and its text.
func (s *stalling) health(path string) (int, string) {
	s.t.Helper()
	res, err := s.side.client.http.Get(s.side.client.health + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (s *stalling) gauge(name string) float64 {
	s.t.Helper()
	_, text := s.health("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return v
		}
	}
	s.t.Fatalf("there is no metric %s", name)
	return 0
}

// anonymous is the process's memory that is not of files, in MiB.
func (s *stalling) anonymous() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.side.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib >> 10
		}
	}
	s.t.Fatalf("no RssAnon in:\n%s", text)
	return 0
}

// whole kills the sidecar and looks at what it has on the disk.
func (s *stalling) whole() {
	s.t.Helper()
	dir := s.fs.Survive(disk.None)[0]
	s.fs.Cut()
	s.side.kill()
	for _, f := range examine(s.t, state{dir: dir, what: "after the stall", fates: s.now(), sizes: bigSizes}).findings {
		s.t.Errorf("%s: %s", f.kind, f.text)
	}
}

// TestStalledSync keeps the syncs of a busy sidecar waiting: for a second, which
// costs a second, and for so long that they count as stalled.
func TestStalledSync(t *testing.T) {
	t.Run("for a second", func(t *testing.T) {
		t.Parallel()
		s := newStalling(t, time.Minute)
		s.accept(5)
		end := s.besiege(8)
		s.fs.Stall(forEver)
		for began := time.Now(); time.Since(began) < time.Second; {
			if status, text := s.health("/readyz?verbose"); status != http.StatusOK {
				t.Errorf("readyz %d: %s", status, text)
			}
		}
		s.fs.Stall(0)
		before := s.answers("202")
		s.eventually("messages are accepted again", func() bool { return s.answers("202") >= before+3 })
		end()
		if n := s.gauge("remora_spool_sync_stalls_total"); n != 0 {
			t.Errorf("%v stalls are counted", n)
		}
		if n := s.answers("unknown"); n > 0 {
			t.Errorf("%d answers do not know whether the message is stored", n)
		}
		t.Logf("answers %v, the last one after %s", s.codes, s.longest)
		s.whole()
	})
	t.Run("too long", func(t *testing.T) {
		t.Parallel()
		timeout := time.Duration(testscale.Between(1, 10)) * time.Second
		lasts := time.Duration(testscale.Between(6, 30)) * time.Second
		s := newStalling(t, timeout)
		s.accept(5)
		before := s.anonymous()
		s.intoTheStall(s.keyed(false)) // nothing but its answer tells what became of it
		first := s.keyed(true)
		s.intoTheStall(first)
		began, accepted := time.Now(), s.answers("202")
		s.stalls(first)
		end := s.besiege(32)
		most := 0
		s.eventually("clients are refused, and the time is over", func() bool {
			most = max(most, s.anonymous())
			return s.answers("busy, stored false") >= 200 && time.Since(began) >= lasts
		})
		if n := s.answers("202"); n != accepted {
			t.Errorf("%d messages were accepted, and no sync has ended since number %d", n, accepted)
		}
		if limit := before + 5*s.ingest + 64; most > limit {
			t.Errorf("%d MiB of memory, and %d before; want %d at most, with %d for bodies", most, before, limit, s.ingest)
		}
		if s.longest > timeout+inTime {
			t.Errorf("an answer came after %s", s.longest)
		}
		s.fs.Stall(0)
		s.resumes(first)
		end()
		t.Logf("stalled for %s: answers %v, the last one after %s; %d MiB of memory at most, %d before", time.Since(began).Round(time.Second), s.codes, s.longest.Round(time.Millisecond), most, before)
		s.whole()
	})
}

// intoTheStall stalls the disk with message n in the commit that waits, as its
// answer tells. A commit of the sidecar's own may be faster: then it is not stored,
// and is sent again.
func (s *stalling) intoTheStall(n int) {
	s.t.Helper()
	s.eventually("the message is in the commit that stalls", func() bool {
		s.fs.Stall(0)
		s.isReady()
		s.fs.Stall(forEver)
		r := s.offer(n)
		if r.Status != 503 || r.Code != "busy" {
			s.t.Errorf("a message is answered %+v, and the disk does not answer", r)
		}
		if r.Stored == "unknown" {
			s.set(n, func(f *fate) { f.refused = false })
		}
		return r.Stored == "unknown"
	})
}

// stalls checks what a sidecar says whose disk does not answer; message n is in
// the commit that waits.
func (s *stalling) stalls(n int) {
	s.t.Helper()
	s.eventually("not ready", func() bool { status, _ := s.health("/readyz"); return status == 503 })
	if _, text := s.health("/readyz?verbose"); !strings.Contains(text, `{"name":"sync-stalled","is":true`) {
		s.t.Errorf("readyz does not say why: %s", text)
	}
	if status, text := s.health("/livez"); status != http.StatusOK {
		s.t.Errorf("livez %d: %s", status, text)
	}
	if s.gauge("remora_spool_sync_stalled_seconds") <= 0 || s.gauge("remora_spool_sync_stalls_total") < 1 {
		s.t.Error("the metrics do not show it")
	}
	if !strings.Contains(s.side.log.String(), "the disk does not answer") {
		s.t.Errorf("the log does not say it:\n%s", s.side.log.tail())
	}
	if r := s.offer(n); r.Code != "busy" || r.Stored != "unknown" {
		s.t.Errorf("a repeat of what may be stored is answered %+v", r)
	}
	if r := s.offer(s.keyed(true)); r.Code != "busy" || r.Stored != false {
		s.t.Errorf("a new message is answered %+v", r)
	}
	for n, f := range s.now()[:5] {
		if f.id == "" {
			continue
		}
		if r, err := s.side.get(f.id); err != nil || r.Status != 200 && (r.Code != "busy" || r.Stored != "unknown") {
			s.t.Errorf("message %d is asked for and answered %+v, %v", n, r, err)
		}
		s.set(n, func(f *fate) { f.cancel = maybeCancelled })
		if r, err := s.side.cancel(f.id); err != nil || r.Status == 200 || r.Code != "busy" || r.Stored != "unknown" {
			s.t.Errorf("message %d is cancelled and answered %+v, %v", n, r, err)
		}
		return
	}
}

// isReady waits until it is.
func (s *stalling) isReady() {
	s.t.Helper()
	s.eventually("ready again", func() bool { status, _ := s.health("/readyz"); return status == http.StatusOK })
}

// resumes checks that a sidecar goes on by itself; message n was in the commit.
func (s *stalling) resumes(n int) {
	s.t.Helper()
	s.isReady()
	before := s.answers("202")
	s.eventually("messages are accepted again", func() bool { return s.answers("202") >= before+3 })
	var r receipt
	s.eventually("the repeat is accepted", func() bool { r = s.offer(n); return r.accepted() })
	if !r.Duplicate {
		s.t.Errorf("what was unknown was not stored: %+v", r)
	}
	if v := s.gauge("remora_spool_sync_stalled_seconds"); v != 0 {
		s.t.Errorf("the metric shows %v s", v)
	}
}

// TestStopOnAStalledDisk sends SIGTERM to a sidecar whose disk does not answer:
// while it serves, and while it opens its spool. It has to give up by itself. The
// kernel lets a process go only when its last call of the file system returns.
func TestStopOnAStalledDisk(t *testing.T) {
	t.Run("serving", func(t *testing.T) {
		t.Parallel()
		s := newStalling(t, time.Second)
		s.accept(3)
		s.fs.Stall(forEver)
		end := s.besiege(4)
		s.eventually("clients are refused", func() bool { return s.answers("busy, stored false") > 10 })
		s.stopsItself()
		end()
		s.fs.Stall(0)
		if code := s.side.exitCode(t); code != exitStorage {
			t.Errorf("ended with %d, want %d\n%s", code, exitStorage, s.side.log.tail())
		}
		s.whole()
	})
	t.Run("opening", func(t *testing.T) {
		t.Parallel()
		s := newStalling(t, time.Second)
		s.accept(3)
		s.side.kill()
		s.fs.Stall(forEver)
		s.side = launch(t, setup{program: shipped, dir: filepath.Join(s.fs.Dir(), "data"), unreachable: true, set: []string{"drain.timeout=1s"}}, s.fs.Start)
		s.eventually("it waits for the disk", s.syncs)
		s.stopsItself()
		s.fs.Stall(0)
		if code := s.side.exitCode(t); code != 0 || !strings.Contains(s.side.log.String(), "has not come to its end") {
			t.Errorf("ended with %d\n%s", code, s.side.log.tail())
		}
		s.whole()
	})
}

// syncs reports that a thread of the sidecar is in a sync.
func (s *stalling) syncs() bool {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", s.side.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range files {
		text, _ := os.ReadFile(name) // the thread may be gone
		call, _, _ := strings.Cut(string(text), " ")
		if slices.Contains([]string{strconv.Itoa(unix.SYS_FSYNC), strconv.Itoa(unix.SYS_FDATASYNC), strconv.Itoa(unix.SYS_MSYNC)}, call) {
			return true
		}
	}
	return false
}

// stopsItself sends SIGTERM and waits until no thread of the process does anything
// any more, but wait for the disk.
func (s *stalling) stopsItself() {
	s.t.Helper()
	began := time.Now()
	if err := s.side.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("the sidecar ends", func() bool {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.side.cmd.Process.Pid))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if _, state, ok := strings.Cut(string(text), ") "); err == nil && ok && !strings.ContainsAny(state[:1], "DZX") {
				return false
			}
		}
		return true
	})
	s.t.Logf("ended %s after SIGTERM, with a drain of 1s", time.Since(began).Round(time.Millisecond))
}
