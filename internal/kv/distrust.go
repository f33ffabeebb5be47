package kv

import (
	"errors"
	"path/filepath"
)

// Distrust makes the next Open read every block of every table, and salvage
// what is damaged: something was found while the database is in use. It serves
// on meanwhile.
func (db *DB) Distrust(why error) {
	if db.distrusted.Swap(true) {
		return
	}
	db.log.Error("something in the database cannot be read: the next start reads all of it", "dir", db.dir.path, "error", why)
	if err := db.leaveWord(); err != nil {
		db.log.Error("cannot leave word for the next start", "dir", db.dir.path, "error", err)
	}
}

// leaveWord looks to the next start as if one had died, once.
func (db *DB) leaveWord() error {
	db.wording.Lock()
	defer db.wording.Unlock()
	if db.worded {
		return nil
	}
	err := db.dir.distrust()
	db.worded = err == nil
	return err
}

// Condemn is Distrust of somebody who must not go on with what can be read: it fences
// the database, so that the next Open is soon. It does so only for damage that the next
// Open finds as well, and salvages: else it returns false, and does nothing, because
// processes would end one after the other.
func (db *DB) Condemn(why error) bool {
	if proven := (damageError{}); !errors.As(why, &proven) {
		return false
	}
	db.distrusted.Store(true)
	db.fence(errors.Join(why, db.leaveWord()))
	return true
}

// damageError is of damage that was read from the files themselves: a checksum does not
// fit.
type damageError struct{ error }

func (d damageError) Unwrap() error { return d.error }

// distrust looks to the next start as if one had died.
func (d *directory) distrust() error {
	if err := writeFile(filepath.Join(d.path, startsName), []byte("1")); err != nil {
		return err
	}
	return d.file.Sync()
}
