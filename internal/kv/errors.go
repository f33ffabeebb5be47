package kv

import (
	"errors"
	"fmt"
)

// Errors of reads and commits.
var (
	// ErrNotFound: no such key.
	ErrNotFound = errors.New("key not found")
	// ErrClosed: the database is closed or closing; nothing happened.
	ErrClosed = errors.New("database is closed")
	// ErrFenced: a commit or a sync failed, or damage was met that nobody may pass. All
	// is refused until the process has restarted. Without ErrUnknown nothing of the
	// operation was written.
	ErrFenced = errors.New("database is fenced: a write or a sync failed, or it is damaged; restart the process")
	// ErrUnknown: the operation may be durable or may not be: it was in the
	// commit that failed, or its caller stopped waiting.
	ErrUnknown = errors.New("outcome of the write is unknown")
	// ErrBusy: the disk is too far behind to be given more; nothing happened.
	ErrBusy = errors.New("the disk is behind")
	// ErrTooLarge: the operation does not fit into one commit; nothing happened.
	ErrTooLarge = errors.New("operation is larger than one commit")
)

// Errors of Open.
var (
	// ErrLocked: another process, or another Open of this one, holds the directory.
	ErrLocked = errors.New("directory is in use")
	// ErrFormat: the directory was written with another Options.Magic.
	ErrFormat = errors.New("directory has another format")
	// ErrDamaged: opening the directory would discard data, and it could not be
	// salvaged; nothing was changed. Of a read: it met a damaged table.
	ErrDamaged = errors.New("directory is damaged")
	// ErrStorage: the disk did not do what it was asked, whoever asks; trying
	// again in the same way is of no use. See StorageError.
	ErrStorage = errors.New("the storage failed")
)

// StorageError returns err, as ErrStorage too if it came of a disk that fails
// and not of what was asked of it, such as a missing right or file.
func StorageError(err error) error {
	if err == nil || errors.Is(err, ErrStorage) || !storageFailed(err.Error()) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}
