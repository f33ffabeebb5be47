package kv

import (
	"bytes"
	"testing"

	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// FuzzSalvageLog: whatever a log holds, what is left of it can be replayed.
func FuzzSalvageLog(f *testing.F) {
	s := &seals{}
	log := rotated(&testing.T{}, s, 1, 3)
	f.Add(log, uint64(1))
	f.Add(append(bytes.TrimRight(log, "\x00"), rotated(&testing.T{}, s, 2, 2)[walHeader:]...), uint64(3))
	broken := append(bytes.TrimRight(log, "\x00"), rotated(&testing.T{}, s, 2, 2)[walHeader:]...)
	broken[60] ^= 1
	f.Add(broken, uint64(2))
	f.Fuzz(func(t *testing.T, data []byte, acked uint64) {
		salvage := salvagedLogs{sealed: s, most: 1000, acked: acked}
		data = bytes.Clone(data)
		salvage.mend(data, keptOwner{}, acked/2)
		out := salvage.clean(data)
		for at := walHeader; at < len(out); {
			size := replaySize(out[at:])
			if size == 0 {
				t.Fatalf("byte %d of %d cannot be replayed", at, len(out))
			}
			at += size
		}
	})
}

// FuzzReadTable reads tables with and without an index that holds.
func FuzzReadTable(f *testing.F) {
	data := aTableOf(50)
	f.Add(data)
	f.Add(data[:len(data)-1])
	broken := bytes.Clone(data)
	broken[len(broken)/4] ^= 1
	f.Add(broken)
	f.Add(append(bytes.Clone(data), 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys := 0
		err := tableReader{
			entry:  func(tableEntry) error { keys++; return nil },
			broken: func(int64, int64, error) { keys-- },
			owner:  keptOwner{},
		}.read(data)
		if err != nil {
			t.Log(err)
		}
	})
}

// TestReadTable reads what Badger builds, by its index and without it.
func TestReadTable(t *testing.T) {
	whole := aTableOf(500)
	for name, data := range map[string][]byte{"whole": whole, "without an index": whole[:len(whole)-1]} {
		n, broken := 0, 0
		err := tableReader{
			entry: func(e tableEntry) error {
				if string(e.key) != numbered(n) || e.version != 7 || e.deleted != (n%5 == 0) || len(e.value) != n%300 {
					t.Errorf("%s: entry %d is %q at %d, deleted %t, %d bytes", name, n, e.key, e.version, e.deleted, len(e.value))
				}
				n++
				return nil
			},
			broken: func(int64, int64, error) { broken++ },
		}.read(data)
		if err != nil || n != 500 || broken != map[string]int{"without an index": 1}[name] {
			t.Errorf("%s: %d entries, %d broken, %v", name, n, broken, err)
		}
	}
}

func aTableOf(keys int) []byte {
	b := table.NewTableBuilder(table.Options{BlockSize: 4096, TableSize: 1 << 20, BloomFalsePositive: 0.01})
	defer b.Close()
	for n := range keys {
		v := y.ValueStruct{Value: bytes.Repeat([]byte{byte(n)}, n%300)}
		if n%5 == 0 {
			v.Meta = bitDelete
		}
		b.Add(y.KeyWithTs([]byte(numbered(n)), 7), v, 0)
	}
	return b.Finish()
}
