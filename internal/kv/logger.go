package kv

import (
	"fmt"
	"log/slog"
	"strings"
)

// badgerLog passes Badger's words on and raises the alarm at failures that Badger only
// logs: a failed flush that is retried without end (db.go:1162), a WAL or a table that
// could not be deleted (memtable.go:126) and would bring back settled records, a
// memtable that could not be created (memtable.go:145). Debug lines contain keys and
// are dropped; Badger logs no values.
type badgerLog struct {
	log  *slog.Logger
	fail func(error)
	said func(format string, args []any) // gets what compactions say; nil: nobody
	flat func()                          // called at Flatten's first line; nil: nobody
}

// maxLogLine bounds a line of Badger's, which may print whole tables, in bytes.
const maxLogLine = 512

func (l *badgerLog) Errorf(format string, args ...any) {
	line := logLine(format, args)
	l.log.Error("badger: " + line)
	l.fail(fmt.Errorf("badger reported: %s", line))
}

// Warningf fences for a compaction that failed because of the storage. One
// that failed because of damaged data is only told: it would fail again after
// each restart.
func (l *badgerLog) Warningf(format string, args ...any) {
	l.tell(format, args)
	line := logLine(format, args)
	l.log.Warn("badger: " + line)
	if storageFailed(fmt.Sprintf(format, args...)) {
		l.fail(fmt.Errorf("badger reported: %s", line))
	}
}

func (l *badgerLog) Infof(format string, args ...any) {
	l.log.Debug("badger: " + logLine(format, args))
	if format == lineFlatten && l.flat != nil {
		l.flat()
	}
}

func (l *badgerLog) Debugf(format string, args ...any) { l.tell(format, args) }

func (l *badgerLog) tell(format string, args []any) {
	if l.said != nil {
		l.said(format, args)
	}
}

func logLine(format string, args []any) string {
	line := strings.TrimSpace(fmt.Sprintf(format, args...))
	if len(line) > maxLogLine {
		line = strings.ToValidUTF8(line[:maxLogLine], "") + "…"
	}
	return line
}

// storageFailed looks for errno texts: Badger drops the error chain (y/error.go Wrap).
func storageFailed(line string) bool {
	for _, errno := range storageErrnos {
		if strings.Contains(line, errno.Error()) {
			return true
		}
	}
	return strings.Contains(line, "file already closed")
}
