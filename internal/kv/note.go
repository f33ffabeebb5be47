package kv

import "fmt"

// Note leaves word outside of Badger: the newest note is written with the head,
// at most a second behind the commits, and is there when everything else of the
// database is not. It is at most MaxNote bytes and belongs to one participant,
// which calls this from Synced.
func (db *DB) Note(note []byte) {
	if len(note) > MaxNote {
		panic(fmt.Sprintf("kv: a note of %d bytes, at most %d", len(note), MaxNote))
	}
	own := string(note)
	db.keeper.noted.Store(&own)
}

// Noted is the note that this Open found, or that the owner gave instead; empty: none.
func (db *DB) Noted() []byte { return []byte(db.noted) }
