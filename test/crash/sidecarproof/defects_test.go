package sidecarproof

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// The tests below break the sidecar on purpose, one defect each, and fail
// unless the searches of this package find it: a check that cannot fail proves
// nothing.

// defective is a sidecar with one of the defects. One build has them all, and the
// environment turns one on: a build for each would take longer than its test.
func defective(t *testing.T, defect string) program {
	t.Helper()
	t.Setenv("REMORA_TEST_DEFECT", defect)
	return withDefects
}

var withDefects = built("defective",
	added("internal/kv/defect.go", "package kv\n\nimport \"os\"\n\nvar defect = os.Getenv(\"REMORA_TEST_DEFECT\")\n\nfunc Has(name string) bool { return name == defect }\n"),
	added("spool/defect.go", "package spool\n\nimport \"github.com/remora-mq/remora/internal/kv\"\n\nfunc has(defect string) bool { return kv.Has(defect) }\n"),
	added("forwarder/defect.go", "package forwarder\n\nimport \"github.com/remora-mq/remora/internal/kv\"\n\nfunc has(defect string) bool { return kv.Has(defect) }\n"),
	replaced("forwarder/attempt.go",
		"	confirmations, err := l.send(ctx, leases)\n	l.park",
		"	if has(\"settles first\") {\n		l.f.spool.Confirm(leases, make([]message.Confirmation, len(leases)))\n	}\n	confirmations, err := l.send(ctx, leases)\n	l.park"),
	replaced("internal/kv/commit.go",
		"	started := time.Now()\n",
		"	if Has(\"answers first\") {\n		db.answer(b, nil)\n	}\n	started := time.Now()\n"),
	replaced("internal/kv/fence.go",
		"func (db *DB) fence(cause error) {\n",
		"func (db *DB) fence(cause error) {\n	if Has(\"goes on\") {\n		return\n	}\n"),
	replaced("spool/decide.go",
		"		return s.decision(ctx, t, to, by)\n",
		"		if has(\"decides nothing\") {\n			t.State = to\n			return nil, nil\n		}\n		return s.decision(ctx, t, to, by)\n"),
	replaced("spool/decide.go",
		"	if err := s.offerChange(ctx, &ownedOperation{op, o}); err != nil {\n",
		"	if has(\"decides later\") {\n		time.AfterFunc(50*time.Millisecond, func() { s.post(&ownedOperation{op, o}) })\n	} else if err := s.offerChange(ctx, &ownedOperation{op, o}); err != nil {\n"),
)

// TestSettledBeforeConfirmed: a forwarder that forgets messages before the
// broker has them loses what no broker took.
func TestSettledBeforeConfirmed(t *testing.T) {
	broken := defective(t, "settles first")
	dir := t.TempDir()
	side := run(t, setup{program: broken, dir: filepath.Join(dir, "data"), unreachable: true}, spawn(t))
	w := &traffic{journal: &journal{}, sizes: smallSizes, until: 200, side: func() *client { return side.client }}
	w.start(1)
	w.running.Wait()
	side.kill()
	const enough = 15 * time.Second // for messages that come in one, and here never
	if r := examine(t, state{dir: dir, what: "after the kill", fates: w.now(), sizes: smallSizes, wait: enough}); !r.has(lost) {
		t.Errorf("nothing is said to be lost: %+v", r.findings)
	}
}

// TestAnsweredBeforeTheSync: what is answered while its sync is still under way
// goes with the power.
func TestAnsweredBeforeTheSync(t *testing.T) {
	broken := defective(t, "answers first")
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
	broken := defective(t, "goes on")
	found := false
	for n := 1; n <= 3 && !found; n++ {
		s := newSceneOf(t, broken, true)
		s.rest()
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
	broken := defective(t, "decides nothing")
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
