package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// Badger's manifest: 8 bytes of magic ("Bdgr", our number, Badger's number),
// then change sets, each with length and CRC-32C in front (manifest.go
// helpRewrite, addChanges).
const (
	manifestHeader = 8
	manifestPrefix = 8 // length and checksum of a change set
	badgerVersion  = 8 // badgerMagicVersion
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checkManifest reports whether a database exists here, and refuses what
// Badger's Open would ruin: without a manifest it removes every table
// (levels.go revertToManifest).
func (d *directory) checkManifest(magic uint16) (exists bool, err error) {
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return false, d.checkNoTables()
	}
	if err != nil {
		return false, err
	}
	err = checkManifestHeader(data, magic)
	if h, _, ok, headErr := d.readHead(); headErr == nil && ok {
		switch {
		case !readable(h.magic, magic):
			err = formatError(h.magic, magic)
		case errors.Is(err, ErrFormat): // the head knows better
			err = fmt.Errorf("%w: %s has another format than %s", ErrDamaged, badger.ManifestFilename, headName)
		}
	}
	return true, err
}

func manifestHeaderOf(magic uint16) []byte {
	data := binary.BigEndian.AppendUint16([]byte("Bdgr"), formatOf(magic))
	return binary.BigEndian.AppendUint16(data, badgerVersion)
}

func (s changeSet) encoded() (changeSet, error) {
	raw, err := encodeChanges(&pb.ManifestChangeSet{Changes: s.changes})
	s.raw = raw
	return s, err
}

// encodeChanges makes an entry of the manifest.
func encodeChanges(set *pb.ManifestChangeSet) ([]byte, error) {
	body, err := proto.Marshal(set)
	if err != nil {
		return nil, err
	}
	raw := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(body, castagnoli))
	return append(raw, body...), nil
}

func checkManifestHeader(data []byte, magic uint16) error {
	if len(data) < manifestHeader || string(data[:4]) != "Bdgr" || binary.BigEndian.Uint16(data[6:]) != badgerVersion {
		return fmt.Errorf("%w: %s has no header", ErrDamaged, badger.ManifestFilename)
	}
	if found := binary.BigEndian.Uint16(data[4:6]); !readable(found, magic) {
		return formatError(found, magic)
	}
	return nil
}

func formatError(found, magic uint16) error {
	return fmt.Errorf("%w: it is format %d.%d, this program writes %d.%d; run the version that wrote it, or a newer one",
		ErrFormat, found>>layoutShift, found%(1<<layoutShift), Layout, magic)
}

func (d *directory) checkNoTables() error {
	names, err := d.names(".sst", ".mem")
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%w: %d tables and logs but no %s", ErrDamaged, len(names), badger.ManifestFilename)
	}
	return err
}

// rewriteManifest copies the manifest into a new, synced file, without what says
// nothing, and the compactions that it takes back. After a fence it leaves out
// what Badger had logged but taken back itself, and after a stop while it closed
// all that came since (closing.go). damaged says that damage is looked for.
func (d *directory) rewriteManifest(log *slog.Logger, damaged bool) error {
	data, closing, err := d.lastManifest()
	if err != nil {
		return err
	}
	if closing {
		log.Warn("database did not come to the end of closing: what was flushed and compacted meanwhile is done again", "dir", d.path)
	}
	if !closing && d.wasFenced() {
		kept, err := d.withoutRetracted(data)
		switch {
		case err == nil:
			data = kept
		case !damaged || !errors.Is(err, ErrDamaged):
			return err
		}
	}
	data, taken, err := d.takeBack(data, damaged)
	if err != nil {
		return err
	}
	if taken > 0 {
		log.Warn("compactions are taken back: it is not known whether they wrote all of their tables, and what they were made from is there", "dir", d.path, "compactions", taken)
	}
	sets, err := changeSets(data)
	if err != nil {
		return err
	}
	if err := d.replace(badger.ManifestFilename, join(data[:manifestHeader], sets)); err != nil {
		return fmt.Errorf("rewrite manifest: %w", err)
	}
	if err := d.forgetManifests(); err != nil {
		return fmt.Errorf("rewrite manifest: %w", err)
	}
	return nil
}

// withoutRetracted drops the change sets that a failed sync of the manifest
// left behind. Badger writes the set, fails to sync it, and removes the tables
// it had created for it (db.go handleMemTableFlush, levels.go runCompactDef);
// the next Open would find them missing and refuse. Their sources are still
// there: the WAL of a flush, the old tables of a compaction, which are live
// again without the set. Anything else is damage.
func (d *directory) withoutRetracted(data []byte) ([]byte, error) {
	sets, err := changeSets(data)
	if err != nil {
		return nil, err
	}
	missing := d.missing(sets)
	if len(missing) == 0 {
		return data, nil
	}
	kept := slices.DeleteFunc(sets, func(s changeSet) bool { return s.creates(missing) })
	if still := d.missing(kept); len(still) > 0 {
		return nil, fmt.Errorf("%w: %d tables are missing", ErrDamaged, len(still))
	}
	logs, err := d.names(".mem")
	if err != nil {
		return nil, err
	}
	if len(logs) == 0 {
		return nil, fmt.Errorf("%w: %d tables are missing, and no log holds their records", ErrDamaged, len(missing))
	}
	return join(data[:manifestHeader], kept), nil
}

// missing returns the live tables that have no file, or one that Badger was about
// to remove: it cuts it off first.
func (d *directory) missing(sets []changeSet) map[uint64]uint32 {
	tables := live(sets)
	maps.DeleteFunc(tables, func(id uint64, _ uint32) bool {
		st, err := os.Stat(table.NewFilename(id, d.path))
		return !errors.Is(err, fs.ErrNotExist) && (err != nil || st.Size() > 0)
	})
	return tables
}

// live returns the levels of the tables that are created and not deleted.
func live(sets []changeSet) map[uint64]uint32 {
	tables := make(map[uint64]uint32)
	apply(tables, sets)
	return tables
}

// apply brings the levels of the live tables up to date.
func apply(tables map[uint64]uint32, sets []changeSet) {
	for _, s := range sets {
		for _, c := range s.changes {
			if c.Op == pb.ManifestChange_CREATE {
				tables[c.Id] = c.Level
			} else {
				delete(tables, c.Id)
			}
		}
	}
}

// changeSet is one atomic entry of the manifest.
type changeSet struct {
	raw     []byte
	changes []*pb.ManifestChange
}

// count returns how many tables the set creates and deletes. Only that of a
// compaction deletes.
func (s changeSet) count() (created, deleted int) {
	for _, c := range s.changes {
		if c.Op == pb.ManifestChange_CREATE {
			created++
		} else {
			deleted++
		}
	}
	return created, deleted
}

func (s changeSet) creates(tables map[uint64]uint32) bool {
	return slices.ContainsFunc(s.changes, func(c *pb.ManifestChange) bool {
		_, wanted := tables[c.Id]
		return wanted && c.Op == pb.ManifestChange_CREATE
	})
}

func join(header []byte, sets []changeSet) []byte {
	out := slices.Clone(header)
	for _, s := range sets {
		out = append(out, s.raw...)
	}
	return out
}

// changeSets reads the manifest. A short last entry was never synced and is
// left out, as Badger does (manifest.go ReplayManifestFile). So are the zeros that
// a power loss may leave in its place, which are entries of nothing to Badger, and
// the end to who reads what it adds (manifestTail.rest). A broken entry is
// damage. So is what only looks short because its length is damaged: Badger
// would cut all entries from there on, and remove their tables.
func changeSets(data []byte) ([]changeSet, error) {
	var sets []changeSet
	rest := data[manifestHeader:]
	for len(rest) >= manifestPrefix {
		size := entrySize(rest)
		if size > uint64(len(rest)) {
			break
		}
		set, ok := entry(rest[:size])
		if !ok {
			return nil, fmt.Errorf("%w: %s has a broken entry", ErrDamaged, badger.ManifestFilename)
		}
		if size > manifestPrefix || len(sets) == 0 { // Badger begins with one of nothing
			sets = append(sets, set)
		}
		rest = rest[size:]
	}
	if !torn(rest) {
		return nil, fmt.Errorf("%w: %s has an entry of a broken length", ErrDamaged, badger.ManifestFilename)
	}
	return sets, nil
}

func entrySize(raw []byte) uint64 {
	return uint64(binary.BigEndian.Uint32(raw)) + manifestPrefix
}

func entry(raw []byte) (changeSet, bool) {
	body := raw[manifestPrefix:]
	var set pb.ManifestChangeSet
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(raw[4:]) || proto.Unmarshal(body, &set) != nil {
		return changeSet{}, false
	}
	return changeSet{raw: raw, changes: set.Changes}, true
}

// torn reports whether what is left at the end can be an append that was cut
// off: it is not a whole entry but for its length, and none follows in it.
func torn(rest []byte) bool {
	if len(rest) <= manifestPrefix {
		return true
	}
	if _, whole := entry(rest); whole {
		return false
	}
	for at := 1; len(rest)-at > manifestPrefix; at++ {
		size := entrySize(rest[at:])
		if size == manifestPrefix || size > uint64(len(rest)-at) {
			continue
		}
		if _, ok := entry(rest[at : uint64(at)+size]); ok {
			return false
		}
	}
	return true
}
