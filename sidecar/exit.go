package sidecar

import (
	"errors"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
)

// ErrStorage reports that a read, a write or a sync failed.
var ErrStorage = kv.ErrStorage

// Exit codes; doc.go says what they mean.
const (
	ExitOK      = 0
	ExitFailed  = 1
	ExitUsage   = 2
	ExitStorage = 74
	ExitLocked  = 75
)

// ExitCode is the code with which a process ends after Run.
func ExitCode(err error) int {
	problems := config.Problems(nil)
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrStorage):
		return ExitStorage
	case errors.Is(err, kv.ErrLocked):
		return ExitLocked
	case errors.As(err, &problems):
		return ExitUsage
	}
	return ExitFailed
}
