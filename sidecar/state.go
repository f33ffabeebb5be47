package sidecar

import "sync/atomic"

// phase is where the process is between its start and its end.
type phase int32

const (
	starting phase = iota
	ready
	stopping
	failed
)

var phaseNames = [...]string{"starting", "ready", "stopping", "read_only"}

func (p phase) String() string { return phaseNames[p] }

// state is the phase, for the health listener.
type state struct{ now atomic.Int32 }

func (s *state) set(p phase) { s.now.Store(int32(p)) }
func (s *state) get() phase  { return phase(s.now.Load()) }
