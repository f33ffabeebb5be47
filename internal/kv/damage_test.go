package kv

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// damaged is a database with tables and a log, as a killed process leaves it:
// 2,500 keys, the last 200 in the log, which holds 5 commits of 40.
type damaged struct {
	opts Options
	log  string
}

func newDamaged(t *testing.T) damaged {
	t.Helper()
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	running := openTest(t, opts)
	fill(t, Attach(running, &writer{}), 2300, 2500)
	<-running.keeper.end()
	must(t, running.keeper.note())
	opts.Dir = killed(t, opts.Dir)
	return damaged{opts: opts}.found(t)
}

// copy is the same once more, to be damaged in another way.
func (d damaged) copy(t *testing.T) damaged {
	t.Helper()
	to := filepath.Join(t.TempDir(), "db")
	must(t, os.CopyFS(to, os.DirFS(d.opts.Dir)))
	d.opts.Dir = to
	return d.found(t)
}

func (d damaged) found(t *testing.T) damaged {
	t.Helper()
	logs, err := filepath.Glob(d.file("*.mem"))
	must(t, err)
	logs = slices.DeleteFunc(logs, isEmpty) // the next one, which holds nothing
	if len(logs) != 1 {
		t.Fatal(logs)
	}
	d.log = logs[0]
	return d
}

func isEmpty(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Size() == 0
}

func (d damaged) file(name string) string { return filepath.Join(d.opts.Dir, name) }

// keysInBlock is how many pairs of some 1,000 bytes share a block of a table.
const keysInBlock = BlockSize / 1000

// TestOpenSalvages damages a database: Open says so, everything that can be
// read is there, and the next Open is clean.
func TestOpenSalvages(t *testing.T) {
	original := newDamaged(t)
	for name, tt := range map[string]struct {
		damage func(t *testing.T, d damaged)
		text   string
		lost   int // keys at most
	}{
		"flipped bit in a log":         {func(t *testing.T, d damaged) { flip(t, d.log, 20_000) }, "and commit", 1},
		"last commit of a log":         {func(t *testing.T, d damaged) { flip(t, d.log, 190_000) }, "cannot be read", 1},
		"header in a log":              {func(t *testing.T, d damaged) { flip(t, d.log, walHeader+3) }, "and commit", 1},
		"page of a log":                {func(t *testing.T, d damaged) { wipe(t, d.log, 81_920, pageSize) }, "and commit", 6},
		"end of a log":                 {func(t *testing.T, d damaged) { must(t, os.Truncate(d.log, 100_000)) }, "cannot be read", 120},
		"encryption key":               {func(t *testing.T, d damaged) { flip(t, d.log, 3) }, "encryption key", 0},
		"missing log":                  {func(t *testing.T, d damaged) { must(t, os.Remove(d.log)) }, "which are gone", 200},
		"missing head":                 {func(t *testing.T, d damaged) { must(t, os.Remove(d.file(headName))) }, "HEAD: it is missing", 0},
		"broken head":                  {func(t *testing.T, d damaged) { must(t, os.Truncate(d.file(headName), 20)) }, "neither of its slots", 0},
		"missing manifest":             {func(t *testing.T, d damaged) { must(t, os.Remove(d.file(badger.ManifestFilename))) }, "MANIFEST", 0},
		"manifest without a header":    {func(t *testing.T, d damaged) { must(t, os.Truncate(d.file(badger.ManifestFilename), 3)) }, "no header", 0},
		"another format in its header": {func(t *testing.T, d damaged) { flip(t, d.file(badger.ManifestFilename), 5) }, "MANIFEST", 0},
		"flipped bit in the manifest":  {func(t *testing.T, d damaged) { flip(t, d.file(badger.ManifestFilename), 20) }, "broken entry", 0},
		"cut manifest":                 {func(t *testing.T, d damaged) { cutManifest(t, d.opts.Dir) }, "", 0},
		"missing table":                {func(t *testing.T, d damaged) { must(t, os.Remove(aTable(t, d.opts.Dir))) }, "missing", 1100},
		"cut table":                    {func(t *testing.T, d damaged) { must(t, os.Truncate(aTable(t, d.opts.Dir), 100_000)) }, "", 1100},
		"empty table":                  {func(t *testing.T, d damaged) { must(t, os.Truncate(aTable(t, d.opts.Dir), 0)) }, "0 left", 1100},
		"table's footer":               {func(t *testing.T, d damaged) { flip(t, aTable(t, d.opts.Dir), -4) }, "checksum", 0},
		"table's index":                {func(t *testing.T, d damaged) { flip(t, aTable(t, d.opts.Dir), -100) }, "index", 0},
		"zeros at a table's end":       {func(t *testing.T, d damaged) { zeroEnd(t, aTable(t, d.opts.Dir)) }, "index", 2 * keysInBlock},
		"table's last block":           {func(t *testing.T, d damaged) { flipLastBlock(t, aTable(t, d.opts.Dir)) }, "last block", keysInBlock},
		"key registry":                 {func(t *testing.T, d damaged) { flip(t, d.file(badger.KeyRegistryFileName), 20) }, "names an encryption key", 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := original.copy(t)
			tt.damage(t, d)
			wantSalvaged(t, d.opts, tt.text, tt.lost)
		})
	}
}

func wantSalvaged(t *testing.T, opts Options, text string, lost int) {
	t.Helper()
	var report *Damage
	for start := range 2 {
		db, err := Open(t.Context(), opts)
		if err != nil {
			t.Fatalf("start %d: %v", start, err)
		}
		if report = db.Damage(); report == nil || !strings.Contains(describe(report.Found), text) || len(report.Quarantine) != 1 {
			t.Fatalf("start %d: %+v, want %q", start, report, text)
		}
		missing, keys := 2500, keysOf(t, db, Scan{Prefix: []byte("key-")})
		for _, key := range keys {
			wantValue(t, db, key, strings.Repeat("v", 1000))
		}
		if missing -= len(keys); missing > lost {
			t.Errorf("start %d: %d keys are gone, at most %d should be", start, missing, lost)
		}
		mustCommit(t, Attach(db, &writer{}), put("key-000000", strings.Repeat("v", 1000)))
		if start == 1 {
			must(t, db.AcknowledgeDamage())
		}
		must(t, db.Close())
	}
	if db := openTest(t, opts); db.Damage() != nil {
		t.Error("the report outlives its acknowledgement")
	}
	if files, err := os.ReadDir(report.Quarantine[0]); err != nil || len(files) == 0 {
		t.Errorf("quarantine: %v, %v", files, err)
	}
	if _, err := os.Stat(opts.Dir + freshSuffix); err == nil {
		t.Error("a directory is left over")
	}
}

func zeroEnd(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	wipe(t, path, int(st.Size())-pageSize, pageSize)
}

func wipe(t *testing.T, path string, at, size int) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	clear(data[at : at+size])
	must(t, os.WriteFile(path, data, 0o600))
}

func cutManifest(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, badger.ManifestFilename)
	data, err := os.ReadFile(path)
	must(t, err)
	sets, err := changeSets(data)
	must(t, err)
	must(t, os.WriteFile(path, join(data[:manifestHeader], sets[:len(sets)-1]), 0o600))
}

func flipLastBlock(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	_, end, err := splitTable(data)
	must(t, err)
	flip(t, path, end-100)
}

// TestOpenTakesBackUnsyncedManifestEntries shows what a failed sync of the
// manifest leaves, after which Badger removes the tables of the entry: with
// the note of the fence it is taken back, without it is damage.
func TestOpenTakesBackUnsyncedManifestEntries(t *testing.T) {
	for name, entry := range map[string]func(tables []uint64) []*pb.ManifestChange{
		"flush": func([]uint64) []*pb.ManifestChange {
			return []*pb.ManifestChange{{Id: 9000, Op: pb.ManifestChange_CREATE}}
		},
		"compaction": func(tables []uint64) []*pb.ManifestChange {
			c := []*pb.ManifestChange{{Id: 9000, Op: pb.ManifestChange_CREATE, Level: 6}}
			for _, id := range tables {
				c = append(c, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_DELETE})
			}
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(t.TempDir())
			running := openTest(t, opts)
			q := Attach(running, &writer{})
			fill(t, q, 0, 2500)
			must(t, flatten(running))
			opts.Dir = killed(t, opts.Dir)
			appendManifest(t, opts.Dir, entry(tableIDs(t, opts.Dir)))

			must(t, os.WriteFile(filepath.Join(opts.Dir, fencedName), nil, 0o600))
			if got := count(t, openTest(t, opts)); got != 2500 {
				t.Errorf("%d keys", got)
			}
		})
	}
}

func appendManifest(t *testing.T, dir string, changes []*pb.ManifestChange) {
	t.Helper()
	body, err := proto.Marshal(&pb.ManifestChangeSet{Changes: changes})
	must(t, err)
	raw := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	raw = binary.BigEndian.AppendUint32(raw, crc32.Checksum(body, castagnoli))
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.Write(append(raw, body...))
	must(t, errors.Join(err, f.Close()))
}

// TestManifestFlips flips each bit of a manifest: it is refused, or nothing is
// left out. Cut anywhere, it is what a power loss leaves.
func TestManifestFlips(t *testing.T) {
	opts := testOptions(t.TempDir())
	filled(t, opts, 3000)
	data, err := os.ReadFile(filepath.Join(opts.Dir, badger.ManifestFilename))
	must(t, err)
	whole, err := changeSets(data)
	must(t, err)
	if len(whole) < 3 {
		t.Fatalf("only %d entries", len(whole))
	}
	for bit := manifestHeader * 8; bit < len(data)*8; bit++ {
		data[bit/8] ^= 1 << (bit % 8)
		if sets, err := changeSets(data); err == nil {
			t.Errorf("bit %d of byte %d: %d of %d entries and no error", bit%8, bit/8, len(sets), len(whole))
		} else if !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
	for end := manifestHeader; end < len(data); end++ {
		if _, err := changeSets(data[:end]); err != nil {
			t.Errorf("cut at %d: %v", end, err)
		}
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 0x10
	must(t, os.WriteFile(path, data, 0o600))
}

func tableIDs(t *testing.T, dir string) []uint64 {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	must(t, err)
	var ids []uint64
	for _, name := range names {
		id, ok := table.ParseFileID(name)
		if !ok {
			t.Fatal(name)
		}
		ids = append(ids, id)
	}
	return ids
}

func aTable(t *testing.T, dir string) string {
	t.Helper()
	ids := tableIDs(t, dir)
	if len(ids) == 0 {
		t.Fatal("no tables")
	}
	return table.NewFilename(ids[0], dir)
}

// TestScrubPassesOverWhatACompactionRemoves: Badger cuts a table off before it
// removes it, and a read of it meanwhile finds no end.
func TestScrubPassesOverWhatACompactionRemoves(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 2300)
	db := openTest(t, opts)
	removed := filepath.Join(opts.Dir, tableFile{id: db.badger.Tables()[0].ID}.name())
	q, passed := Attach(db, &writer{}), false
	found, err := db.Scrub(t.Context(), func(int64) error {
		if passed {
			return nil
		}
		passed = true
		fill(t, q, 0, 2300) // the same keys
		if err := db.GiveBack(t.Context()); err != nil {
			return err
		}
		if _, err := os.Stat(removed); err == nil {
			t.Fatal("the compaction left the table")
		}
		return os.WriteFile(removed, make([]byte, 5000), 0o600)
	})
	if err != nil || len(found) > 0 || !passed {
		t.Errorf("%v, %v", found, err)
	}
	must(t, os.Remove(removed))
}

// TestScrubOfADamagedIndex damages each byte of the index of a table in use:
// Badger cannot tell its tables then. All are read, and commits and Close go on.
func TestScrubOfADamagedIndex(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 60)
	db := openTest(t, opts)
	path := aTable(t, opts.Dir)
	data, err := os.ReadFile(path)
	must(t, err)
	_, index, err := splitTable(data)
	must(t, err)
	file, err := os.OpenFile(path, os.O_WRONLY, 0) // in place: it is mapped
	must(t, err)
	for at := index; at < len(data); at++ {
		_, err := file.WriteAt([]byte{data[at] ^ 0x10}, int64(at))
		must(t, err)
		if found, err := db.Scrub(t.Context(), nil); err != nil || len(found) == 0 {
			t.Fatalf("byte %d of %d: %v, %v", at-index, len(data)-index, found, err)
		}
		_, err = file.WriteAt(data[at:at+1], int64(at))
		must(t, err)
	}
	must(t, file.Close())
	if found, err := db.Scrub(t.Context(), nil); err != nil || len(found) > 0 {
		t.Errorf("the whole table: %v, %v", found, err)
	}
	mustCommit(t, Attach(db, &writer{}), put("a", "b"))
}

// TestADamagedTableIsKeptOnce: a later pass, which meets it again, must not write to it.
func TestADamagedTableIsKeptOnce(t *testing.T) {
	opts := testOptions(filepath.Join(t.TempDir(), "db"))
	filled(t, opts, 60)
	db := openTest(t, opts)
	path := aTable(t, opts.Dir)
	flipInPlace(t, path, 3, 0)
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(path, old, old))
	for range 2 {
		if found, err := db.Scrub(t.Context(), nil); err != nil || len(found) == 0 {
			t.Fatalf("%v, %v", found, err)
		}
	}
	st, err := os.Stat(path)
	must(t, err)
	if !st.ModTime().Equal(old) {
		t.Error("a table in use was written again")
	}
}
