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
)

// orphanEnv makes the test binary a parent that is killed.
const orphanEnv = "REMORA_TEST_ORPHAN"

// beParent starts a child, prints its PID and waits for its own end.
func beParent() {
	p, err := startProcess(exec.Command("sleep", "600"))
	if err != nil {
		panic(err)
	}
	fmt.Println(p.cmd.Process.Pid)
	<-p.exited
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
	p, err := startProcess(exec.Command("sleep", "600"))
	must(t, err)
	if err := p.within(time.Millisecond); err == nil || p.alive() {
		t.Errorf("got %v, alive %v", err, p.alive())
	}
}

func TestMissingProgramIsAnError(t *testing.T) {
	if _, err := startProcess(exec.Command("/nonexistent")); err == nil {
		t.Error("no error")
	}
}
