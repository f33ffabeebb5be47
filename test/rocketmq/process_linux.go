package rocketmq

import "syscall"

// dieWithParent: a group of its own keeps a terminal's Ctrl-C away from the
// child, so that ours is the only end it gets.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
