package sidecar

import (
	"errors"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
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
	ExitUnfit   = 78
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
	case isUnfit(err):
		return ExitUnfit
	}
	return ExitFailed
}

// isUnfit reports that what is stored is not for this program with these keys.
func isUnfit(err error) bool {
	for _, one := range []error{ErrKeyFile, kv.ErrFormat, spool.ErrFormat, message.ErrVersion} {
		if errors.Is(err, one) {
			return true
		}
	}
	missing := (*keyring.MissingError)(nil)
	return errors.As(err, &missing)
}
