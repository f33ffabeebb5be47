package badgerproof

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// openTries bounds the opens of a database: Badger v4.9.6 refuses a log file
// that lost its length, once, and leaves it as it wants it (issue 2207).
const openTries = 5

// Missing opens what a power cut left of a database and returns how many
// records of the acknowledged commits are not there or have other bytes. A
// commit is named by its first record.
func Missing(dir string, acked []int) (missing int, err error) {
	db, err := recoverDB(dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(txn *badger.Txn) error {
		for _, first := range acked {
			n, err := missingOf(txn, first)
			if err != nil {
				return err
			}
			missing += n
		}
		return nil
	})
	return missing, err
}

func missingOf(txn *badger.Txn, first int) (missing int, err error) {
	for n := first; n < first+perCommit; n++ {
		ok, err := holds(txn, n)
		if err != nil {
			return 0, fmt.Errorf("read record %d: %w", n, err)
		}
		if !ok {
			missing++
		}
	}
	return missing, nil
}

func holds(txn *badger.Txn, n int) (ok bool, err error) {
	item, err := txn.Get(Key(n))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = item.Value(func(b []byte) error {
		ok = bytes.Equal(b, Value(n))
		return nil
	})
	return ok, err
}

// recoverDB opens a database after a power cut. Empty log files hold nothing
// that was acknowledged.
func recoverDB(dir string) (*badger.DB, error) {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		if err := removeEmpty(filepath.Join(dir, pattern)); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		db, err := badger.Open(Options(dir, Synced))
		if err == nil {
			return db, nil
		}
		if try == openTries || !strings.Contains(err.Error(), "Create a new file") {
			return nil, fmt.Errorf("open database, try %d: %w", try, err)
		}
	}
}

func removeEmpty(pattern string) error {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("look for empty logs: %w", err)
		}
		if info.Size() > 0 {
			continue
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove empty log: %w", err)
		}
	}
	return nil
}
