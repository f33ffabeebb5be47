package sidecarproof

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

// scene is a sidecar with power, and one message that has an idempotency key.
type scene struct {
	t      *testing.T
	fs     *powerfs.FS
	side   *process
	number int
	answer chan receipt // of the post; closed without one when none came
	fate   fate
}

func newScene(t *testing.T, unreachable bool, subscriptions ...string) *scene {
	t.Helper()
	return newSceneOf(t, shipped, unreachable, subscriptions...)
}

func newSceneOf(t *testing.T, p program, unreachable bool, subscriptions ...string) *scene {
	t.Helper()
	s := &scene{t: t, fs: powerfs.Mount(t, powerfs.Options{}), answer: make(chan receipt, 1), number: numberWithKey()}
	s.side = run(t, setup{
		program: p, dir: filepath.Join(s.fs.Dir(), "data"), unreachable: unreachable, subscriptions: subscriptions,
	}, s.fs.Start)
	return s
}

func numberWithKey() (n int) {
	for smallSizes.message(n).idempotency == "" {
		n++
	}
	return n
}

func (s *scene) message() message { return smallSizes.message(s.number) }

// rest waits until the sidecar has written what its start leaves for later: HEAD, which
// tells of the last commit. The next sync is then for what comes next.
func (s *scene) rest() {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		syncs := slices.DeleteFunc(s.fs.History(), func(op disk.Op) bool { return !strings.Contains(op.Kind, "sync") })
		if filepath.Base(syncs[len(syncs)-1].Path) == "HEAD" {
			return
		}
		if time.Now().After(end) {
			s.t.Fatal("HEAD is not written")
		}
	}
}

// post sends the message and does not wait for the answer.
func (s *scene) post() {
	s.fate.sent = true
	go func() {
		defer close(s.answer)
		if r, err := s.side.publish(s.message()); err == nil {
			s.answer <- r
		}
	}()
}

// accepted waits for the answer, which has to be a 202.
func (s *scene) accepted() {
	s.t.Helper()
	select {
	case r := <-s.answer:
		if s.fate.id = r.ID; r.Status != 202 {
			s.t.Fatalf("the message was answered %+v", r)
		}
	case <-time.After(patience):
		s.t.Fatal("no answer came")
	}
}

// unanswered fails the test if the client got an answer.
func (s *scene) unanswered() {
	s.t.Helper()
	select {
	case r := <-s.answer:
		s.t.Errorf("the message was answered %+v, the row is about one that was not", r)
	default:
	}
}

// place is where an operation is.
type place func(disk.Op) bool

// in matches writes and syncs of the log of a database: "spool" or "embedded".
func in(database string) place {
	return func(op disk.Op) bool {
		ext := filepath.Ext(op.Path)
		return strings.HasPrefix(op.Path, "data/"+database+"/") && (ext == ".mem" || ext == ".vlog")
	}
}

// syncOf matches the sync that makes a commit durable.
func syncOf(database string) place {
	return func(op disk.Op) bool {
		return in(database)(op) && filepath.Ext(op.Path) == ".mem" && strings.HasSuffix(op.Kind, "sync")
	}
}

// hold makes the next operation wait.
func (s *scene) hold() { s.fs.HoldAt(1) }

// until lets operations go, one by one, up to the one that is looked for, which
// waits.
func (s *scene) until(wanted place) {
	s.t.Helper()
	for {
		held := s.held()
		if wanted(*held.Held) {
			return
		}
		s.fs.Resume(1)
	}
}

// after is until, for the operation after the one that waits.
func (s *scene) after(wanted place) {
	s.t.Helper()
	s.fs.Resume(1)
	s.until(wanted)
}

func (s *scene) held() disk.Event {
	s.t.Helper()
	select {
	case held := <-s.fs.Held():
		return held
	case <-time.After(patience):
		s.t.Fatalf("no operation came\n%s", s.side.log.tail())
	}
	return disk.Event{}
}

// stopDead lets the held sync succeed, and the process do nothing any more, not
// even learn of it.
func (s *scene) stopDead() {
	s.t.Helper()
	if err := s.side.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("the process stops", s.isStopped)
	before := s.fs.Syncs()
	s.fs.Resume(0)
	s.eventually("the sync ends", func() bool { return s.fs.Syncs() > before })
}

// isStopped looks for a thread in state T; the one that waits for the disk gets
// there when it comes back.
func (s *scene) isStopped() bool {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.side.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if _, state, ok := strings.Cut(string(text), ") "); err == nil && ok && state[0] == 'T' {
			return true
		}
	}
	return false
}

// eventually is for what gives no sign.
func (s *scene) eventually(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// fates is the journal of the scene.
func (s *scene) fates() []fate {
	all := make([]fate, s.number+1)
	all[s.number] = s.fate
	return all
}

// cut returns what a cut at this moment leaves, and ends the scene.
func (s *scene) cut(survivors ...disk.Survivors) (states []state) {
	s.t.Helper()
	for i, dir := range s.fs.Survive(survivors...) {
		states = append(states, state{dir: dir, what: survivors[i].String(), sizes: smallSizes})
	}
	if s.fate.id == "" {
		s.unanswered()
	}
	s.fs.Cut()
	s.side.kill()
	return states
}

// examine opens a state, which must have nothing wrong in it.
func (s *scene) examine(one state) *report {
	s.t.Helper()
	one.fates = s.fates()
	r := examine(s.t, one)
	for _, f := range r.findings {
		s.t.Errorf("%s: %s: %s", one.what, f.kind, f.text)
	}
	if n := len(r.calls); n != 1 && len(r.findings) == 0 {
		s.t.Errorf("%s: %d messages were handled, want the one", one.what, n)
	}
	return r
}
