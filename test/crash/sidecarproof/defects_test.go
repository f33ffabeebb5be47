package sidecarproof

import (
	"path/filepath"
	"testing"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// The tests below break the sidecar on purpose, one defect each, and fail
// unless the searches of this package find it: a check that cannot fail proves
// nothing.

// TestSettledBeforeConfirmed: a forwarder that forgets messages before the
// broker has them loses what no broker took.
func TestSettledBeforeConfirmed(t *testing.T) {
	broken := built("settles-first", replaced("forwarder/attempt.go",
		"	confirmations, err := l.send(ctx, leases)\n	l.park",
		"	l.f.spool.Confirm(leases, make([]message.Confirmation, len(leases)))\n	confirmations, err := l.send(ctx, leases)\n	l.park"))
	dir := t.TempDir()
	side := run(t, setup{program: broken, dir: filepath.Join(dir, "data"), unreachable: true}, spawn(t))
	w := &traffic{journal: &journal{}, sizes: smallSizes, until: 200, side: func() *client { return side.client }}
	w.start(1)
	w.running.Wait()
	side.kill()
	if r := examine(t, state{dir: dir, what: "after the kill", fates: w.now(), sizes: smallSizes}); !r.has(lost) {
		t.Errorf("nothing is said to be lost: %+v", r.findings)
	}
}

// TestAnsweredBeforeTheSync: what is answered while its sync is still under way
// goes with the power.
func TestAnsweredBeforeTheSync(t *testing.T) {
	broken := built("answers-first", replaced("internal/kv/commit.go",
		"	started := time.Now()\n", "	db.answer(b, nil)\n	started := time.Now()\n"))
	s := newSceneOf(t, broken, true)
	s.hold()
	s.post()
	s.until(syncOf("spool"))
	s.accepted()
	if !s.anyLost(s.cut(disk.None)) {
		t.Error("nothing is said to be lost")
	}
}

// TestNoFence: a database that goes on after a failed sync promises what is not
// on the disk.
func TestNoFence(t *testing.T) {
	broken := built("goes-on", replaced("internal/kv/fence.go",
		"func (db *DB) fence(cause error) {\n", "func (db *DB) fence(cause error) {\n	if db.opts.Dir != \"\" {\n		return\n	}\n"))
	found := false
	for n := 1; n <= 3 && !found; n++ {
		s := newSceneOf(t, broken, true)
		s.fs.FailSync(n)
		s.post()
		r := <-s.answer
		s.fate.id = r.ID
		found = r.accepted() && s.anyLost(s.cut(disk.None))
	}
	if !found {
		t.Error("nothing is said to be lost")
	}
}

// TestDecisionThatIsNotMade: what is answered as decided, and is not, is half.
func TestDecisionThatIsNotMade(t *testing.T) {
	broken := built("decides-nothing", replaced("spool/decide.go",
		"		return s.decision(ctx, t, to, by)\n", "		_, t.State = s.decision, to\n		return nil, nil\n"))
	dir := t.TempDir()
	side := run(t, setup{program: broken, dir: filepath.Join(dir, "data"), unreachable: true}, spawn(t))
	w := &traffic{journal: &journal{}, sizes: littleSizes, until: 300, side: func() *client { return side.client }}
	w.start(1)
	w.running.Wait()
	side.kill()
	if deals := dealsOf(w.now()); deals[isCommitted] == 0 || deals[isRolledBack] == 0 {
		t.Fatalf("the decisions were %v", deals)
	}
	if r := examine(t, state{dir: dir, what: "after the kill", fates: w.now(), sizes: littleSizes}); !r.has(untrue) {
		t.Errorf("nothing is said to be untrue: %+v", r.findings)
	}
}

// anyLost opens states in which a message has to be missing.
func (s *scene) anyLost(states []state) (found bool) {
	for _, one := range states {
		one.fates = s.fates()
		found = examine(s.t, one).has(lost) || found
	}
	return found
}
