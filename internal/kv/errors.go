package kv

import "errors"

// Errors of reads and commits.
var (
	// ErrNotFound: no such key.
	ErrNotFound = errors.New("key not found")
	// ErrClosed: the database is closed or closing; nothing happened.
	ErrClosed = errors.New("database is closed")
	// ErrFenced: a commit or a sync failed; the database refuses everything
	// until the process has restarted. Alone it means that nothing of this
	// operation was written.
	ErrFenced = errors.New("database is fenced after a failed write or sync; restart the process")
	// ErrUnknown: the operation may be durable or may not be: it was in the
	// commit that failed, or its caller stopped waiting.
	ErrUnknown = errors.New("outcome of the write is unknown")
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
	// salvaged; nothing was changed.
	ErrDamaged = errors.New("directory is damaged")
)
