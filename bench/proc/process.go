package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a running child.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the child is reaped
	err    error         // its exit; read after exited
}

// Start starts cmd. The child gets no Ctrl-C of the terminal, and dies with us
// where the system can do that. It runs as the user that cmd names, if it does.
func Start(cmd *exec.Cmd) (*Process, error) {
	attr := dieWithParent()
	if cmd.SysProcAttr != nil {
		attr.Credential = cmd.SysProcAttr.Credential
	}
	cmd.SysProcAttr = attr
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go p.own(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// own keeps its thread while the child lives: the kernel sends the parent-death
// signal when the thread that forked ends (prctl(2), PR_SET_PDEATHSIG).
func (p *Process) own(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.exited)
}

// PID is the child's process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Alive reports whether the child has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Exited is closed when the child has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the child to end, kills it after grace, and returns when it is gone.
// What it started itself is killed with it.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return p.Err()
	case <-time.After(grace):
	}
	if err := p.killGroup(); err != nil {
		return err
	}
	<-p.exited
	return fmt.Errorf("%s (process %d) did not end within %v and was killed", p.cmd.Path, p.PID(), grace)
}

// Kill is kill -9 of the child and what it started; it returns when the child is gone.
func (p *Process) Kill() {
	_ = p.killGroup() // it may have ended
	<-p.exited
}

// Err is how the child ended, once Exited is closed; nil: with 0.
func (p *Process) Err() error {
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.cmd.Path, p.err)
	}
	return nil
}

// killGroup reaches all that have not left the child's process group.
func (p *Process) killGroup() error {
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process group %d: %w", p.PID(), err)
	}
	return nil
}

// Resume ends a Pause.
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }

// Signal does nothing to a process that has ended.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", p.PID(), err)
	}
	return nil
}
