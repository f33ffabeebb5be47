package kv

import (
	"bytes"
	"errors"
	"fmt"
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
// The first whose old tables are gone was judged, as was all before it. Old
// tables that cannot be read prove nothing: without the compaction they would
// be lost, and with it Badger would remove them. So damage is ErrDamaged, and a
// salvage follows; it calls with damaged, which asks only that they are there.
func (d *directory) takeBack(data []byte, damaged bool) (kept []byte, taken int, err error) {
	sets, err := d.history(data, damaged)
	if err != nil {
		return nil, 0, err
	}
	for n, s := range slices.Backward(sets) {
		if _, deleted := s.count(); deleted == 0 {
			continue // a flush
		}
		there, err := d.canTakeBack(s, live(sets))
		if err == nil && there && !damaged {
			err = d.checkOld(s)
		}
		if err != nil {
			return nil, 0, fmt.Errorf("take back a compaction: %w", err)
		}
		if !there {
			break
		}
		sets = slices.Delete(sets, n, n+1)
		taken++
	}
	if taken == 0 {
		return data, 0, nil
	}
	return join(data[:manifestHeader], sets), taken, nil
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
func (d *directory) history(data []byte, damaged bool) ([]changeSet, error) {
	sets, err := changeSets(data)
	if err != nil || len(sets) == 0 {
		return sets, err
	}
	earlier, err := d.earlier(data)
	if damaged && errors.Is(err, ErrDamaged) {
		err = nil
	}
	if err != nil || earlier == nil {
		return sets, err
	}
	between, err := difference(live(earlier), live(sets[:1])).encoded()
	if err != nil {
		return nil, err
	}
	return slices.Concat(earlier, []changeSet{between}, sets[1:]), nil
}

// earlier returns what was in the manifest before Badger replaced it; nil: it
// did not.
func (d *directory) earlier(data []byte) ([]changeSet, error) {
	older, err := os.ReadFile(filepath.Join(d.path, earlierName))
	if errors.Is(err, fs.ErrNotExist) || err == nil && bytes.HasPrefix(data, older) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return changeSetsOf(earlierName, older)
}

// changeSetsOf reads a manifest that goes by another name.
func changeSetsOf(name string, data []byte) ([]changeSet, error) {
	if len(data) < manifestHeader {
		return nil, fmt.Errorf("%w: %s has no header", ErrDamaged, name)
	}
	sets, err := changeSets(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return sets, nil
}

// canTakeBack reports whether all that the set made is live, and all that it was
// made from is there, and under no other use: numbers come again. Badger cuts a
// table off before it removes it.
func (d *directory) canTakeBack(s changeSet, tables map[uint64]uint32) (bool, error) {
	for _, c := range s.changes {
		_, alive := tables[c.Id]
		if alive != (c.Op == pb.ManifestChange_CREATE) {
			return false, nil
		}
		if alive {
			continue
		}
		st, err := os.Stat(filepath.Join(d.path, tableFile{id: c.Id}.name()))
		if errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0 {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// checkOld tells of what the set was made from whether it is whole.
func (d *directory) checkOld(s changeSet) error {
	for _, c := range s.changes {
		if c.Op != pb.ManifestChange_DELETE {
			continue
		}
		name := tableFile{id: c.Id}.name()
		_, err := checkTable(filepath.Join(d.path, name))
		if isRefusal(err) {
			return err
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
		}
	}
	return nil
}
