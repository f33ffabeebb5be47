package kv

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
)

// takeBack leaves out of the manifest, from its end, the compactions whose old
// tables are all there yet: it was not known that they had written all that they
// had to (compactions.go), or it was known a moment ago, and then nothing but
// their work is lost. Each is taken back only behind all that came after it, so
// the tables are those that were live before it, and what was flushed since.
//
// The first whose old tables are gone was judged, as was all before it. With
// damaged, old tables may be so: the compaction could not read them.
func (d *directory) takeBack(data []byte, damaged bool) (kept []byte, taken int) {
	sets, err := d.history(data)
	if err != nil {
		return data, 0 // inspect tells
	}
	for n, s := range slices.Backward(sets) {
		if _, deleted := s.count(); deleted == 0 {
			continue // a flush
		}
		if !d.canTakeBack(s, live(sets), damaged) {
			break
		}
		sets = slices.Delete(sets, n, n+1)
		taken++
	}
	if taken == 0 {
		return data, 0
	}
	return join(data[:manifestHeader], sets), taken
}

// earlierName is a second name of the manifest. Badger replaces the manifest when
// it has grown old (manifest.go, addChanges), and what the change that made it do
// so was, only the older one tells.
const earlierName = "MANIFEST.earlier"

// keepManifest gives the manifest that second name.
func (d *directory) keepManifest() error {
	earlier := filepath.Join(d.path, earlierName)
	if err := os.Remove(earlier); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Link(filepath.Join(d.path, badger.ManifestFilename), earlier)
}

// history returns the change sets of the manifest, with those that were in it
// before Badger replaced it.
func (d *directory) history(data []byte) ([]changeSet, error) {
	sets, err := changeSets(data)
	if err != nil || len(sets) == 0 {
		return sets, err
	}
	earlier := d.earlier(data)
	if earlier == nil {
		return sets, nil
	}
	between, err := difference(live(earlier), live(sets[:1])).encoded()
	if err != nil {
		return nil, err
	}
	return slices.Concat(earlier, []changeSet{between}, sets[1:]), nil
}

// earlier returns what was in the manifest before Badger replaced it; nil: it
// did not, or that cannot be read.
func (d *directory) earlier(data []byte) []changeSet {
	older, err := os.ReadFile(filepath.Join(d.path, earlierName))
	if err != nil || len(older) < manifestHeader || bytes.HasPrefix(data, older) {
		return nil
	}
	sets, err := changeSets(older)
	if err != nil {
		return nil
	}
	return sets
}

// canTakeBack reports whether all that the set made is live, and all that it was
// made from is there, whole, and under no other use: numbers come again.
func (d *directory) canTakeBack(s changeSet, tables map[uint64]uint32, damaged bool) bool {
	for _, c := range s.changes {
		_, alive := tables[c.Id]
		if c.Op == pb.ManifestChange_CREATE {
			if !alive {
				return false
			}
			continue
		}
		if alive {
			return false
		}
		name := tableFile{id: c.Id}.name()
		if d.emptied(name) {
			return false
		}
		if _, err := checkTable(filepath.Join(d.path, name)); err != nil && !damaged {
			return false
		}
	}
	return true
}
