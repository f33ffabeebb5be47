package sidecarproof

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/testscale"
)

// exitLocked is the documented exit code for a directory that is taken.
const exitLocked = 75

// TestSecondSidecarIsRefused starts others on the directory of a sidecar that
// is busy.
func TestSecondSidecarIsRefused(t *testing.T) {
	dir := t.TempDir()
	how := setup{program: shipped, dir: filepath.Join(dir, "data")}
	first := run(t, how, spawn(t))
	w := &traffic{journal: &journal{}, sizes: littleSizes, until: 1 << 30, side: func() *client { return first.client }}
	w.start(1)
	how.set = []string{"spool.lock_wait=200ms"}
	for range testscale.Between(4, 100) {
		second := launch(t, how, spawn(t))
		if code := second.exitCode(t); code != exitLocked {
			t.Errorf("the second sidecar ended with %d, want %d", code, exitLocked)
		}
		owner := fmt.Sprintf("%s/spool/db is held by process %d; stop it", how.dir, first.cmd.Process.Pid)
		if text := second.log.String(); !strings.Contains(text, owner) {
			t.Errorf("the second sidecar does not say %q:\n%s", owner, text)
		}
	}
	w.stop()
	for n, f := range w.now() {
		if f.id == "" {
			t.Errorf("message %d was not accepted by the first sidecar: %+v", n, f)
		}
	}
	if code := first.stop(t); code != 0 {
		t.Errorf("the first sidecar ended with %d\n%s", code, first.log.tail())
	}
	accepted, cancelled := totals(w.now())
	t.Logf("the first sidecar accepted %d messages and cancelled %d meanwhile", accepted, cancelled)
	for _, f := range examine(t, state{dir: dir, what: "the first sidecar's", fates: w.now(), sizes: littleSizes}).findings {
		t.Errorf("%s: %s", f.kind, f.text)
	}
}
