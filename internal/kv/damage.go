package kv

import (
	"fmt"
	"strings"
)

// Damage is what Open found broken, and what it did about it. Nothing broken
// is in the database any more: what could be read was written again under the
// same keys. Who knows what the keys mean can tell what is missing.
type Damage struct {
	At         string        `json:"at"`         // RFC 3339
	Quarantine []string      `json:"quarantine"` // directories with the files as they were
	Found      []Finding     `json:"found"`
	Lost       []CommitRange `json:"lost"`     // commits of which something is missing, or may be
	Restored   int           `json:"restored"` // entries of damaged tables that were read and written again
}

// Finding is one damaged place.
type Finding struct {
	File string `json:"file"` // name in the directory
	From int64  `json:"from"` // first byte that could not be read
	To   int64  `json:"to"`   // first byte after it that could; 0: to the end
	What string `json:"what"`
}

// CommitRange is a range of commits by their number, both included. Commits
// are numbered from 1, in their seals.
type CommitRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

func (f Finding) String() string {
	if f.From == 0 && f.To == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.What)
	}
	if f.To == 0 {
		return fmt.Sprintf("%s from byte %d: %s", f.File, f.From, f.What)
	}
	return fmt.Sprintf("%s bytes %d to %d: %s", f.File, f.From, f.To, f.What)
}

// describe lists findings for a log or an error.
func describe(found []Finding) string {
	var lines []string
	for _, f := range found {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "; ")
}
