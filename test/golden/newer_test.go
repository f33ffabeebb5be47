package golden

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"slices"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// A newer version may have written the directory, or, if that were missed, any of
// the entries that are read first. It is refused, and stays as it is.
func TestNewerFormatIsRefused(t *testing.T) {
	path := archive(current, "plain")
	dir := unpack(t, path)
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(dir, "db"), MemTableSize: 1 << 20, Magic: spool.FormatVersion + 1})
	if !errors.Is(err, kv.ErrFormat) {
		t.Fatalf("the directory: %v, %v", db, err)
	}
	for _, prefix := range []string{"sh", "st", "sb", "sk", "sx"} {
		old := entries(t, dir, prefix)[0]
		plant(t, dir, pair{old.key, newer(old.value)})
		if _, err := try(t, dir, nil); !errors.Is(err, spool.ErrFormat) {
			t.Errorf("%s: %v", prefix, err)
		}
		plant(t, dir, old)
	}
	old := entries(t, dir, "sh")[0]
	plant(t, dir, pair{old.key, newerHead(old.value)})
	if _, err := try(t, dir, nil); !errors.Is(err, spool.ErrFormat) {
		t.Errorf("the format that the head tells: %v", err)
	}
	plant(t, dir, old)
	read(t, path) // the same, in a fresh directory
	h := open(t, dir, nil)
	defer h.close()
	if a, err := h.spool.Audit(t.Context()); err != nil || !a.Balanced {
		t.Errorf("after all was refused: %+v, %v", a, err)
	}
}

type pair struct{ key, value []byte }

// newer gives a value the next version, and a checksum that fits: version and
// CRC32C stand at its end.
func newer(value []byte) []byte {
	b := slices.Clone(value[:len(value)-4])
	b[len(b)-1] = spool.FormatVersion + 1
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// newerHead gives a head the next format of a spool as a whole: its first byte.
func newerHead(value []byte) []byte {
	b := slices.Clone(value[:len(value)-4])
	b[0] = spool.Format + 1
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func database(t *testing.T, dir string, do func(db *kv.DB) error) {
	t.Helper()
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(dir, "db"), MemTableSize: 1 << 20, Magic: spool.FormatVersion})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func entries(t *testing.T, dir, prefix string) (all []pair) {
	t.Helper()
	database(t, dir, func(db *kv.DB) error {
		return db.Scan(kv.Scan{Prefix: []byte(prefix)}, func(k, v []byte) (bool, error) {
			all = append(all, pair{slices.Clone(k), slices.Clone(v)})
			return true, nil
		})
	})
	if len(all) == 0 {
		t.Fatalf("there is no entry %s", prefix)
	}
	return all
}

// planter writes behind the spool's back.
type planter struct{}

func (planter) Write(tx *kv.Tx, ops []pair) error {
	for _, p := range ops {
		tx.Set(p.key, p.value)
	}
	return nil
}
func (planter) Synced([]pair) {}

func plant(t *testing.T, dir string, p pair) {
	t.Helper()
	database(t, dir, func(db *kv.DB) error {
		return kv.Attach(db, planter{}).Commit(t.Context(), p, len(p.key)+len(p.value))
	})
}
