package kv

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

func TestOpenRefusesWhatItWouldRuin(t *testing.T) {
	manifest := func(dir string) string { return filepath.Join(dir, badger.ManifestFilename) }
	for name, tt := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   error
		text   string
	}{
		"tables without a manifest":   {func(t *testing.T, dir string) { must(t, os.Remove(manifest(dir))) }, ErrDamaged, "no MANIFEST"},
		"manifest without a header":   {func(t *testing.T, dir string) { must(t, os.Truncate(manifest(dir), 3)) }, ErrDamaged, "no header"},
		"flipped bit in the manifest": {func(t *testing.T, dir string) { flip(t, manifest(dir), 20) }, ErrDamaged, "broken entry"},
		"missing table":               {func(t *testing.T, dir string) { must(t, os.Remove(aTable(t, dir))) }, ErrDamaged, "missing"},
		"cut table":                   {func(t *testing.T, dir string) { must(t, os.Truncate(aTable(t, dir), 1000)) }, ErrDamaged, ""},
		"empty table":                 {func(t *testing.T, dir string) { must(t, os.Truncate(aTable(t, dir), 0)) }, ErrDamaged, "0 left"},
		"table's footer":              {func(t *testing.T, dir string) { flip(t, aTable(t, dir), -4) }, ErrDamaged, "checksum"},
		"table's index":               {func(t *testing.T, dir string) { flip(t, aTable(t, dir), -100) }, ErrDamaged, "index"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(t.TempDir())
			filled(t, opts, 3000)
			tt.damage(t, opts.Dir)
			files := inodes(t, opts.Dir)
			for range 2 { // as after the clean stop, and as after the failed start
				_, err := Open(t.Context(), opts)
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), opts.Dir) {
					t.Fatalf("got %v, want %v … %s", err, tt.want, tt.text)
				}
			}
			for name := range inodes(t, opts.Dir) {
				delete(files, name)
			}
			delete(files, cleanName)
			if len(files) > 0 {
				t.Errorf("removed %v", files)
			}
		})
	}
}

// TestOpenRefusesRottenLogs damages the log that a killed process left.
func TestOpenRefusesRottenLogs(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(t *testing.T, dir, log string)
		text   string
	}{
		"flipped bit":    {func(t *testing.T, _, log string) { flip(t, log, 1000) }, "commit 1 cannot be read, and commit 5 follows"},
		"last commit":    {func(t *testing.T, _, log string) { flip(t, log, 170_000) }, "commits 5 to 5 cannot be read"},
		"encryption key": {func(t *testing.T, _, log string) { flip(t, log, 3) }, "encryption key"},
		"missing log":    {func(t *testing.T, _, log string) { must(t, os.Remove(log)) }, "commits 1 to 5, which are gone"},
		"missing head":   {func(t *testing.T, dir, _ string) { must(t, os.Remove(filepath.Join(dir, headName))) }, "HEAD: it is missing"},
		"broken head":    {func(t *testing.T, dir, _ string) { must(t, os.Truncate(filepath.Join(dir, headName), 20)) }, "neither of its slots"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(t.TempDir())
			running := openTest(t, opts)
			fill(t, Attach(running, &writer{}), 0, 200)
			<-running.keeper.end()
			must(t, running.keeper.note())
			opts.Dir = killed(t, opts.Dir)
			logs, err := filepath.Glob(filepath.Join(opts.Dir, "*.mem"))
			must(t, err)
			if len(logs) != 1 {
				t.Fatal(logs)
			}
			tt.damage(t, opts.Dir, logs[0])
			for range 2 {
				if _, err := Open(t.Context(), opts); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.text) {
					t.Fatalf("got %v, want %s", err, tt.text)
				}
			}
		})
	}
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
			must(t, running.badger.Flatten(1))
			opts.Dir = killed(t, opts.Dir)
			appendManifest(t, opts.Dir, entry(tableIDs(t, opts.Dir)))

			if _, err := Open(t.Context(), opts); !errors.Is(err, ErrDamaged) {
				t.Fatalf("without a note of a fence: %v", err)
			}
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
