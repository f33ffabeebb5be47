package proc

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Pause stops the child, with its connections open. It returns when no thread of
// it runs any more: kill(2) comes back earlier, and a thread on another core
// could still answer.
func (p *Process) Pause() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	// The kernel tells a stop when the last thread has stopped. WEXITED is for a
	// child that ends instead; WNOWAIT leaves its end to own.
	const stopped = 5 // CLD_STOPPED, waitid(2)
	var info unix.Siginfo
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Waitid(unix.P_PID, p.PID(), &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
	}
	if err != nil || info.Code != stopped {
		return fmt.Errorf("pause process %d: it has ended", p.PID())
	}
	return nil
}
