package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// killChildren kills what a process has started that is paused, so that it starts no
// more, and returns when it is gone: PostgreSQL's processes are no group, serve for a
// moment without their parent, and hold the memory that another start asks for.
func killChildren(parent int) {
	all := childrenOf(parent)
	for _, pid := range all {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		left := 0
		for _, pid := range all {
			if state, _ := status(pid); state != 0 && state != 'Z' {
				left++
			}
		}
		if left == 0 {
			return
		}
	}
}

func childrenOf(parent int) (pids []int) {
	found, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range found {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if _, of := status(pid); of == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// status is a process's state, as proc_pid_stat(5) has it, and its parent; 0: there
// is none.
func status(pid int) (state byte, parent int) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(string(fields[1]))
	return fields[0][0], parent
}
