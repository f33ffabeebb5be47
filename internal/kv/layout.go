package kv

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// Layout is that of what this package writes around the entries of its owner. In
// a directory's format it stands above the owner's number, so that a program that
// knows only layout 0 refuses it: there each commit had a version of its own, and
// its seal no number.
const Layout = 1

const layoutShift = 8

// formatOf is the format of the directories that are written for that owner.
func formatOf(owner uint16) uint16 { return Layout<<layoutShift | owner }

// readable reports whether this program can open a directory of that format.
func readable(format, owner uint16) bool { return format == owner || format == formatOf(owner) }

// raiseLayout makes a directory one of this layout, before anything is written to
// it that the one before does not know. The head comes first: a program that
// knows only that looks there (checkManifest).
func (d *directory) raiseLayout(owner uint16) error {
	if h, _, ok, err := d.readHead(); err != nil {
		return err
	} else if ok && h.magic != formatOf(owner) {
		h.magic = formatOf(owner)
		f, err := d.createHead(h)
		if err != nil {
			return err
		}
		if err := f.file.Close(); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if err != nil {
		return err
	}
	header := manifestHeaderOf(owner)
	if bytes.HasPrefix(data, header) {
		return nil
	}
	return d.replace(badger.ManifestFilename, append(header, data[len(header):]...))
}
