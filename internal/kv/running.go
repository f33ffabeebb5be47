package kv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
)

// runningName is there while a database is open. It begins with how many runs in
// a row, this one included, have not finished a compaction, or is empty when this
// one has; what a crash of the process says comes behind that.
//
// A compaction that meets damage within a block ends the process on one of
// Badger's goroutines, by a panic or by log.Fatal, and would again after each
// start: only who reads every block finds it. So the next start does, after a
// crash within Badger, or when unprovenRuns ended without a word.
const runningName = "RUNNING"

const unprovenRuns = 2

// lastRuns says how many of the last runs did not finish a compaction, and why all
// blocks have to be read for them; nil: they need not.
func (d *directory) lastRuns() (unproven int, why error) {
	data, _ := os.ReadFile(filepath.Join(d.path, runningName)) // of use, not of need
	count, said, _ := bytes.Cut(data, []byte("\n"))
	unproven, _ = strconv.Atoi(string(count))
	switch {
	case bytes.Contains(said, []byte("dgraph-io/badger")):
		return unproven, errors.New("the last run crashed within Badger")
	case unproven >= unprovenRuns:
		return unproven, fmt.Errorf("the last %d runs did not finish a compaction", unproven)
	}
	return unproven, nil
}

// crashes is the one place that a process has for what its crash says. The
// database that was opened first has it, until it is closed.
var crashes struct {
	sync.Mutex
	of *directory // nil: none
}

// beginRun counts this run, and has a crash noted. Nothing is synced: neither a
// power loss nor the storage is to blame for a crash.
func (d *directory) beginRun(unproven int) error {
	f, err := os.OpenFile(filepath.Join(d.path, runningName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, unproven)
	crashes.Lock()
	defer crashes.Unlock()
	if crashes.of == nil || crashes.of.path == d.path { // it may have failed to open, or to close
		crashes.of = d
		err = errors.Join(err, debug.SetCrashOutput(f, debug.CrashOptions{}))
	}
	return errors.Join(err, f.Close())
}

// proveRun notes that this run has finished a compaction.
func (d *directory) proveRun() {
	_ = os.Truncate(filepath.Join(d.path, runningName), 0) // else a later start reads more than it needs to
}

// endRun forgets this run, which did not crash.
func (d *directory) endRun() error {
	crashes.Lock()
	defer crashes.Unlock()
	var err error
	if crashes.of == d {
		crashes.of = nil
		err = debug.SetCrashOutput(nil, debug.CrashOptions{})
	}
	return errors.Join(err, d.forget(runningName))
}
