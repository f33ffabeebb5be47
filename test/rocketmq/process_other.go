//go:build !linux

package rocketmq

import "syscall"

// dieWithParent can't be had here; in the same process group the child gets at
// least the terminal's Ctrl-C.
func dieWithParent() *syscall.SysProcAttr { return nil }
