package kv

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// inspection is what the directory's files hold, read before Badger opens and
// changes them.
type inspection struct {
	head    head
	sealed  *seals // nil: unknown
	tables  []tableFile
	ranges  map[uint64]keyRange // of the tables that are whole at their ends
	reach   reach               // of the tables
	last    uint64              // the last commit that can be read
	version uint64              // which that one has
	logs    []walFile
	found   []Finding
	gone    []gap // commits that no live table and no log has

	room uint64   // commits that the logs read so far can hold
	torn *walFile // one whose end cannot be read, and nothing yet tells why
}

// gap are commits that are gone, and the version of the last one before them.
type gap struct {
	CommitRange
	after uint64
}

func (i *inspection) findf(file string, from, to int64, format string, args ...any) {
	i.found = append(i.found, Finding{file, from, to, fmt.Sprintf(format, args...)})
}

// inspect reads the head, the tables and the logs: of the tables their ends,
// or with deep every block.
func (d *directory) inspect(deep bool, magic uint16) (*inspection, error) {
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
	if err := i.inspectManifest(d, magic); err != nil {
		return nil, err
	}
	if err := i.inspectTables(d, deep); err != nil {
		return nil, err
	}
	if err := i.inspectRegistry(d); err != nil {
		return nil, err
	}
	if i.logs, err = d.logs(); err != nil {
		return nil, err
	}
	return i, i.inspectLogs(d)
}

// inspectManifest lists the tables. Without a manifest that can be read they
// are all that are there, on level 0, where Badger compares versions.
func (i *inspection) inspectManifest(d *directory, magic uint16) error {
	data, err := os.ReadFile(filepath.Join(d.path, badger.ManifestFilename))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		i.tables, err = manifestTables(data, magic)
	}
	if err == nil {
		return nil
	}
	i.findf(badger.ManifestFilename, 0, 0, "%v", err)
	i.tables, err = d.tables()
	return err
}

// tables lists the tables that are there, named by the manifest or not.
func (d *directory) tables() (tables []tableFile, err error) {
	names, err := d.names(".sst")
	for _, name := range names {
		if id, ok := table.ParseFileID(name); ok {
			tables = append(tables, tableFile{id: id})
		}
	}
	return tables, err
}

// inspectRegistry checks Badger's list of encryption keys, which has none of
// ours: an IV and a text that shows the right key (key_registry.go).
func (i *inspection) inspectRegistry(d *directory) error {
	const iv = 16
	data, err := os.ReadFile(filepath.Join(d.path, badger.KeyRegistryFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if string(data[min(iv, len(data)):]) != "Hello Badger" {
		i.findf(badger.KeyRegistryFileName, 0, 0, "it is broken, or names an encryption key")
	}
	return nil
}

func manifestTables(data []byte, magic uint16) ([]tableFile, error) {
	if err := checkManifestHeader(data, magic); err != nil {
		return nil, err
	}
	sets, err := changeSets(data)
	if err != nil {
		return nil, err
	}
	var tables []tableFile
	for id, level := range live(sets) {
		tables = append(tables, tableFile{id: id, level: level})
	}
	slices.SortFunc(tables, func(a, b tableFile) int { return cmp.Compare(a.id, b.id) })
	return tables, nil
}

// tableFile is one live table.
type tableFile struct {
	id     uint64
	level  uint32
	broken bool
}

func (t tableFile) name() string { return table.IDToFilename(t.id) }

func (i *inspection) inspectTables(d *directory, deep bool) error {
	i.ranges = make(map[uint64]keyRange, len(i.tables))
	for n, checked := range d.checkTables(i.tables) {
		t := &i.tables[n]
		before := len(i.found)
		if err := i.inspectTable(d, t.name(), checked, deep); err != nil {
			return err
		}
		if t.broken = len(i.found) > before; !t.broken {
			i.ranges[t.id] = checked.keys
		}
	}
	i.last, i.version = i.reach.last(), i.reach.version
	return nil
}

// checkedTable is a table of which the ends were read.
type checkedTable struct {
	tableEnds
	err error
}

// checkTables reads the ends of tables, two at a time: a backlog has thousands.
func (d *directory) checkTables(tables []tableFile) []checkedTable {
	const workers = 2
	checked := make([]checkedTable, len(tables))
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for n := w; n < len(tables); n += workers {
				checked[n].tableEnds, checked[n].err = checkEnds(filepath.Join(d.path, tables[n].name()))
			}
		})
	}
	running.Wait()
	return checked
}

func (i *inspection) inspectTable(d *directory, name string, checked checkedTable, deep bool) error {
	i.reach.extend(checked.reach)
	err := checked.err
	var first *firstBlockError
	switch {
	case err == nil && !deep:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		i.findf(name, 0, 0, "it is missing")
		return nil
	case isRefusal(err):
		return err
	case errors.As(err, &first) && !deep:
		i.findf(name, first.from, first.to, "%v", first.why)
	case err == nil, errors.As(err, &first):
		if err := i.inspectBlocks(d, name); err != nil {
			return err
		}
	default:
		i.findf(name, 0, 0, "%v", err)
	}
	if err == nil {
		return nil
	}
	r, err := d.reachOf(name)
	i.reach.extend(r)
	return err
}

// reachOf is what can be read of a broken table's reach.
func (d *directory) reachOf(name string) (r reach, err error) {
	err = d.readFile(name, func(data []byte, _ []Finding) error {
		return tableReader{entry: r.note, broken: func(int64, int64, error) {}}.read(data)
	})
	return r, err
}

func (i *inspection) inspectBlocks(d *directory, name string) error {
	return d.readFile(name, func(data []byte, unreadable []Finding) error {
		i.found = append(i.found, unreadable...)
		return tableReader{broken: func(from, to int64, why error) { i.findf(name, from, to, "%v", why) }}.read(data)
	})
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
		err := d.readFile(log.name, func(data []byte, unreadable []Finding) error {
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

// inTables reports whether all of a log is in tables.
func (i *inspection) inTables(log walFile) bool {
	return log.scan.last > 0 && log.scan.version <= i.reach.version
}

// tablesWhole reports whether nothing of what was in tables is missing.
func (i *inspection) tablesWhole() bool {
	return len(i.gone) == 0 && !slices.ContainsFunc(i.tables, func(t tableFile) bool { return t.broken })
}

// most is the largest number that a commit can have.
func (i *inspection) most() uint64 { return max(i.reach.last(), i.head.highWater) + i.room + 1 }

func (i *inspection) judge(log *walFile, data []byte) {
	i.room += uint64(len(data)) / minTransaction
	log.scan = scanLog(data, span{i.last, i.most()}, i.sealed)
	s := log.scan
	if s.key {
		i.findf(log.name, 0, walHeader, "the header names an encryption key")
	}
	if s.first > 0 && i.reach.uncertain() && !i.inTables(*log) {
		if s.first > i.last+1 {
			i.gone = append(i.gone, gap{CommitRange{i.last + 1, s.first - 1}, i.version})
			i.findf(log.name, 0, 0, "it follows commits %d to %d, which may be gone: the last seal in the tables cannot be read", i.last+1, s.first-1)
		}
		i.reach.settle(s.first - 1)
		i.last = max(i.last, i.reach.last())
	}
	if s.first > i.last+1 {
		i.missing(log.name, s.first-1)
		i.torn = nil
	}
	if s.last > i.last {
		i.last, i.version = s.last, s.version
	}
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
	switch {
	case i.head.highWater <= i.last:
	case i.reach.uncertain(): // they may be in a table, and are told of as that
		i.gone = append(i.gone, gap{CommitRange{i.last + 1, i.head.highWater}, i.version})
	default:
		i.missing(headName, i.head.highWater)
	}
}

// missing notes that the commits up to last are gone: from the end of a log
// that cannot be read, if there is one, else before what the named file says.
func (i *inspection) missing(name string, last uint64) {
	i.gone = append(i.gone, gap{CommitRange{i.last + 1, last}, i.version})
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
