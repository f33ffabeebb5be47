package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoThreadRunsAfterPause(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), busyEnv+"=1", "GOMAXPROCS=8")
	p := awaitReady(t, cmd)
	defer p.Kill()
	for range 100 {
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		if running := threadsNotStopped(t, p.PID()); len(running) > 0 {
			t.Fatalf("threads that are not stopped:\n%s", strings.Join(running, "\n"))
		}
		if err := p.Resume(); err != nil {
			t.Fatal(err)
		}
	}
}

func threadsNotStopped(t *testing.T, pid int) (running []string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads of process %d: %v", pid, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), ") T ") {
			running = append(running, string(text))
		}
	}
	return running
}

func TestPauseOfOneThatEnded(t *testing.T) {
	p := startReady(t, "echo ready")
	<-p.Exited()
	if err := p.Pause(); err == nil {
		t.Error("no error")
	}
}
