package kv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// inspection is what the directory's files hold, read before Badger opens and
// changes them.
type inspection struct {
	head    head
	sealed  *seals // nil: unknown
	flushed uint64 // the last commit in tables
	last    uint64 // the last commit that can be read
	logs    []walFile
	found   []Finding

	room uint64   // commits that the logs read so far can hold
	torn *walFile // one whose end cannot be read, and nothing yet tells why
}

func (i *inspection) findf(file string, from, to int64, format string, args ...any) {
	i.found = append(i.found, Finding{file, from, to, fmt.Sprintf(format, args...)})
}

// inspect reads the head, the tables' ends and the logs.
func (d *directory) inspect() (*inspection, error) {
	i := &inspection{}
	h, exists, ok, err := d.readHead()
	if err != nil {
		return nil, err
	}
	switch {
	case ok:
		i.head, i.sealed = h, &seals{h.secret}
	case exists:
		i.findf(headName, 0, 0, "neither of its slots can be read")
	default:
		i.findf(headName, 0, 0, "it is missing")
	}
	if err := i.inspectTables(d); err != nil {
		return nil, err
	}
	if i.logs, err = d.logs(); err != nil {
		return nil, err
	}
	return i, i.inspectLogs(d)
}

// inspectTables checks what Badger's Open reads of the tables, and takes from
// their indexes how far they reach.
func (i *inspection) inspectTables(d *directory) error {
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if err != nil {
		return err
	}
	sets, err := changeSets(data)
	if err != nil {
		i.findf(badger.ManifestFilename, 0, 0, "%v", err)
		return nil
	}
	for id := range live(sets) {
		path := table.NewFilename(id, d.path)
		reach, err := checkTable(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			i.findf(filepath.Base(path), 0, 0, "the table is missing")
		case isRefusal(err):
			return err
		case err != nil:
			i.findf(filepath.Base(path), 0, 0, "%v", err)
		}
		i.flushed = max(i.flushed, reach)
	}
	i.last = i.flushed
	return nil
}

// isRefusal tells what a healthy file can meet, such as too many open files,
// from what says that its content is broken.
func isRefusal(err error) bool {
	var call *fs.PathError
	return errors.As(err, &call) && !errors.Is(err, unix.EIO)
}

// inspectLogs reads the logs in order and tells a torn tail, which was never
// acknowledged, from damage. Commits are numbered without gaps: whatever is
// missing before one that exists was acknowledged.
func (i *inspection) inspectLogs(d *directory) error {
	for n := range i.logs {
		log := &i.logs[n]
		err := d.readLog(log.name, func(data []byte, unreadable []Finding) error {
			i.found = append(i.found, unreadable...)
			i.judge(log, data)
			return nil
		})
		if err != nil {
			return err
		}
	}
	i.judgeEnd()
	return nil
}

func (i *inspection) judge(log *walFile, data []byte) {
	i.room += uint64(len(data)) / minTransaction
	log.scan = scanLog(data, span{i.last, i.flushed + i.room + 1}, i.sealed)
	s := log.scan
	if s.key {
		i.findf(log.name, 0, walHeader, "the header names an encryption key")
	}
	if s.first > i.last+1 {
		i.missing(log.name, s.first-1)
		i.torn = nil
	}
	i.last = max(i.last, s.last)
	if s.proof >= i.last+2 {
		i.findf(log.name, s.end, s.at, "commit %d cannot be read, and commit %d follows", i.last+1, s.proof)
		i.last = s.proof
	}
	if !s.blank {
		i.torn = log
	}
}

// judgeEnd compares where the logs end with where the database had come to.
func (i *inspection) judgeEnd() {
	if i.head.highWater > i.last {
		i.missing(headName, i.head.highWater)
	}
}

// missing notes that the commits up to last are gone: from the end of a log
// that cannot be read, if there is one, else before what the named file says.
func (i *inspection) missing(name string, last uint64) {
	if i.torn != nil {
		i.findf(i.torn.name, i.torn.scan.end, 0, "commits %d to %d cannot be read", i.last+1, last)
	} else {
		i.findf(name, 0, 0, "it follows commits %d to %d, which are gone", i.last+1, last)
	}
}

func (i *inspection) damaged() error {
	if len(i.found) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDamaged, describe(slices.Clip(i.found)))
}
