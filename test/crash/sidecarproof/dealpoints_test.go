package sidecarproof

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
)

// dealPoints are the steps of a call for a transaction, each the moment before what it
// names.
var dealPoints = []string{
	"prepare: queued", "prepare: answered", // nothing is on disk; all is
	"decision: queued", "decision: answered",
	"commit: written and synced", "commit: noted in memory", "commit: told to who waits", // of the database
}

// dieAt ends the process with kill -9 when it comes to a point, which the environment
// names, for the nth time.
var dieAt = added("internal/kv/dieat.go", `package kv

import (
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
)

var dieAt, dieLeft = os.Getenv("REMORA_TEST_DIE_AT"), atomic.Int64{}

func init() {
	n, _ := strconv.Atoi(os.Getenv("REMORA_TEST_DIE_NTH"))
	dieLeft.Store(int64(n))
}

func DieAt(point string) {
	if point == dieAt && dieLeft.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
`)

// killsItself is a sidecar that ends at such a point, or at one of halfPoints, and
// renews half messages soon. A build for each of the two tests would take half a minute.
var killsItself = built("kills-itself",
	dieAt,
	added("spool/dieat.go", "package spool\n\nimport \"github.com/remora-mq/remora/internal/kv\"\n\nfunc dieAt(point string) { kv.DieAt(point) }\n"),
	replaced("internal/kv/commit.go", `	if err := db.sync(tx); err != nil {
		return
	}
	stats := CommitStats{Ops: b.ops, Bytes: tx.bytes, Duration: time.Since(started)}
	b.synced()
`, `	DieAt("commit: written and synced")
	if err := db.sync(tx); err != nil {
		return
	}
	stats := CommitStats{Ops: b.ops, Bytes: tx.bytes, Duration: time.Since(started)}
	DieAt("commit: noted in memory")
	b.synced()
	DieAt("commit: told to who waits")
`),
	replaced("spool/decide.go",
		"	if err := s.offerChange(ctx, &ownedOperation{op, o}); err != nil {\n",
		"	dieAt(\"decision: queued\")\n	err = s.offerChange(ctx, &ownedOperation{op, o})\n	dieAt(\"decision: answered\")\n	if err != nil {\n"),
	replaced("spool/prepare.go",
		"	if err := s.offer(ctx, op); err != nil {\n",
		"	dieAt(\"prepare: queued\")\n	err := s.offer(ctx, op)\n	dieAt(\"prepare: answered\")\n	if err != nil {\n"),
	added("transaction/dieat.go", "package transaction\n\nimport \"github.com/remora-mq/remora/internal/kv\"\n\nfunc dieAt(point string) { kv.DieAt(point) }\n"),
	replaced("transaction/keeper.go",
		"	place, err := k.store(ctx, t, number)\n",
		"	dieAt(\"half: sent\")\n	place, err := k.store(ctx, t, number)\n"),
	replaced("transaction/keeper.go",
		"	stands, err := k.spool.PlaceHalf(ctx, t.ID, number, place)\n",
		"	dieAt(\"half: noted\")\n	stands, err := k.spool.PlaceHalf(ctx, t.ID, number, place)\n	dieAt(\"half: answered\")\n"),
	replaced("transaction/ends.go",
		"	told, err := k.tell(ctx, e)\n",
		"	dieAt(\"end: told\")\n	told, err := k.tell(ctx, e)\n	dieAt(\"end: noted\")\n"),
	replaced("transaction/ends.go",
		"		_, failed := k.spool.EndedHalf(ctx, e.ID, told)\n",
		"		_, failed := k.spool.EndedHalf(ctx, e.ID, told)\n		dieAt(\"end: over\")\n"),
	replaced("transaction/questions.go", "const renewAfter = 10\n", "const renewAfter = 2\n"),
	replaced("transaction/questions.go",
		"	place, err := k.store(ctx, &issued, number)\n",
		"	dieAt(\"renewal: sent\")\n	place, err := k.store(ctx, &issued, number)\n	dieAt(\"renewal: noted\")\n"),
	replaced("transaction/questions.go",
		"	if was.Known() {\n",
		"	if was.Known() {\n		dieAt(\"renewal: the former ended\")\n"),
)

// TestKillsAtEachStepOfATransaction: wherever in a call the sidecar ends, what it
// comes back with agrees with all that clients were told.
func TestKillsAtEachStepOfATransaction(t *testing.T) {
	kills := testscale.Between(200, 5000)
	h, app := playDeals(t, killsItself, kills, dealPoints...)
	for _, one := range append(h.wrong(), h.odd...) {
		t.Error(one)
	}
	calls := 0
	for _, ops := range h.all {
		calls += len(ops)
	}
	t.Logf("%d kills at %d points: %d calls for %d transactions; %d messages arrived", kills, len(dealPoints), calls, len(h.all), app.ids())
}

// dealKiller ends sidecars: at random, or where they come to a point.
type dealKiller struct {
	t      *testing.T
	how    setup
	rng    *rand.Rand
	points []string
	at     string // where the running one ends
}

// start starts the nth, of which the last one goes on. One that comes to its point
// while it opens the spool is followed by one that comes to it later.
func (k *dealKiller) start(n, kills int) *process {
	k.t.Helper()
	k.at, k.how.env = "", nil
	if len(k.points) == 0 || n == kills {
		return run(k.t, k.how, spawn(k.t))
	}
	k.at = k.points[n%len(k.points)]
	var err error
	for tries := range 5 {
		k.how.env = []string{"REMORA_TEST_DIE_AT=" + k.at, fmt.Sprint("REMORA_TEST_DIE_NTH=", 20*(tries+1)+k.rng.IntN(20))}
		side := launch(k.t, k.how, spawn(k.t))
		if err = side.await(); err == nil {
			k.t.Cleanup(side.close)
			return side
		}
	}
	k.t.Fatal(err)
	return nil
}

// kill returns when side has ended.
func (k *dealKiller) kill(side *process) {
	k.t.Helper()
	if len(k.points) == 0 {
		time.Sleep(time.Duration(100+k.rng.IntN(500)) * time.Millisecond)
		side.kill()
		return
	}
	select {
	case <-side.ended:
	case <-time.After(patience):
		k.t.Errorf("nothing came to %q", k.at)
	}
	side.kill()
}
