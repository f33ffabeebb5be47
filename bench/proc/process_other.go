//go:build !linux

package proc

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Pause stops the child, with its connections open, soon after its return.
func (p *Process) Pause() error { return p.Signal(syscall.SIGSTOP) }
