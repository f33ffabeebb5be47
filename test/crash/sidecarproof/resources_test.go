package sidecarproof

import (
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// limitFiles makes a starter's process have few file descriptors.
func limitFiles(n int, start starter) starter {
	return func(cmd *exec.Cmd) <-chan struct{} {
		cmd.Args = append([]string{"sh", "-c", "ulimit -n " + strconv.Itoa(n) + `; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		return start(cmd)
	}
}

// TestFewFileDescriptors gives a spool to sidecars that may open few files:
// whether they serve or refuse to start, nothing is lost, and what is whole is
// not taken for damaged.
func TestFewFileDescriptors(t *testing.T) {
	dir := t.TempDir()
	how := setup{program: shipped, dir: filepath.Join(dir, "data"), unreachable: true}
	j, served := &journal{}, 0
	for _, files := range []int{1024, 64, 40, 32, 28, 24, 20, 16, 12, 8, 64} {
		side := launch(t, how, limitFiles(files, spawn(t)))
		if err := side.await(); err != nil {
			text := side.log.String()
			t.Logf("%d files: ended with %d", files, side.exitCode(t))
			if files > 40 || !strings.Contains(text, "too many open files") {
				t.Errorf("with %d files it does not start, and says:\n%s", files, side.log.tail())
			}
			continue
		}
		served++
		w := &traffic{journal: j, sizes: littleSizes, until: j.len() + 200, side: func() *client { return side.client }}
		w.start(uint64(files))
		w.running.Wait()
		crowd(t, side.client, 100)
		side.kill()
		for _, u := range w.untrue {
			t.Error(u)
		}
	}
	if accepted, _ := totals(j.now()); served < 3 || accepted < 300 {
		t.Errorf("%d sidecars served, and accepted %d messages", served, accepted)
	}
	if found, err := filepath.Glob(filepath.Join(dir, "data", "*", "quarantine", "*")); err != nil || len(found) > 0 {
		t.Errorf("a whole database was put into quarantine: %v, %v", found, err)
	}
	for _, f := range examine(t, state{dir: dir, what: "what they left", fates: j.now(), sizes: littleSizes}).findings {
		t.Errorf("%s: %s", f.kind, f.text)
	}
}

// crowd opens more connections than there are descriptors, and lets them go.
func crowd(t *testing.T, c *client, n int) {
	t.Helper()
	for range n {
		if nc, err := net.Dial("tcp", strings.TrimPrefix(c.data, "http://")); err == nil {
			defer nc.Close()
		}
	}
	if _, err := c.ledger(); err != nil {
		t.Logf("the ledger in a crowd: %v", err)
	}
}
