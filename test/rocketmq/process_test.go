package rocketmq

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/bench/proc"
)

// orphanEnv makes the test binary a parent that is killed.
const orphanEnv = "REMORA_TEST_ORPHAN"

// beParent starts a child, prints its PID and waits for its own end.
func beParent() {
	p, err := proc.Start(exec.Command("sleep", "600"))
	if err != nil {
		panic(err)
	}
	fmt.Println(p.PID())
	<-p.Exited()
	os.Exit(1)
}

func TestChildDiesWithKilledParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphanEnv+"=1")
	out, err := parent.StdoutPipe()
	must(t, err)
	must(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	must(t, err)
	if !running(pid) {
		t.Fatal("the child does not run")
	}
	must(t, parent.Process.Kill())
	parent.Wait()
	must(t, await(10*time.Second, nil, func() error {
		if running(pid) {
			return fmt.Errorf("child %d outlives its parent", pid)
		}
		return nil
	}))
}

// running is false for a zombie, which nobody may reap in a container.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestProcessThatHangsIsKilled(t *testing.T) {
	p, err := proc.Start(exec.Command("sleep", "600"))
	must(t, err)
	if err := within(time.Millisecond, p); err == nil || p.Alive() {
		t.Errorf("got %v, alive %v", err, p.Alive())
	}
}

func TestMissingProgramIsAnError(t *testing.T) {
	if _, err := proc.Start(exec.Command("/nonexistent")); err == nil {
		t.Error("no error")
	}
}
