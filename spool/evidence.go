package spool

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/remora-mq/remora/internal/kv"
)

// quarantineDir, in the spool's directory, is where the database puts its
// damaged files, too.
const quarantineDir = "quarantine"

// evidence is one entry as it was, as a line of JSON.
type evidence struct {
	Key   string `json:"key"` // hex
	Value []byte `json:"value"`
	Why   string `json:"why"`
}

// keepEvidence writes entries to a file of their own, synced, and returns its path.
func (s *Spool) keepEvidence(all doubts) (path string, err error) {
	dir := filepath.Join(s.opts.Dir, quarantineDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(dir, s.now().UTC().Format("20060102T150405.000Z")+"-entries.jsonl")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	lines := json.NewEncoder(f)
	for _, d := range all {
		if raw, err := s.db.DB.Get(d.key); err == nil { // as it lies in the database: maybe encrypted
			d.value = raw
		} else {
			d.value = nil
		}
		err = errors.Join(err, lines.Encode(evidence{hex.EncodeToString(d.key), d.value, d.why.Error()}))
	}
	return path, errors.Join(err, f.Sync(), f.Close(), kv.SyncDir(dir), kv.SyncDir(s.opts.Dir))
}

var entryNames = map[string]string{
	"sh": "head", "st": "topic", "sm": "block", "si": "index", "sb": "bitmap", "sc": "part of a payload", "sx": "place of a payload",
	"sd": "dead letter", "sa": "redrive", "sw": "hold", "sf": "ID of an import", "se": "ended key", "sr": "receipts", "sk": "idempotency keys", "sl": "report of damage", "so": "exceptions",
	"sv": "kept messages", "sn": "bar", "sg": "order", "su": "queues", "sz": "pause of topic",
	"sy": "delayed or half message", "sq": "time of a delayed message or a transaction",
	"sp": "transaction", "sj": "name of a transaction", "ss": "secret of the names of transactions",
}

// nameOf tells an entry by its key, for an operator.
func nameOf(key []byte) string {
	name := entryNames[string(key[:min(2, len(key))])]
	if name == "" || !fits(key) || len(key) == 2 {
		return fmt.Sprintf("%s %x", name, key[min(2, len(key)):])
	}
	switch string(key[:2]) {
	case "st", "su", "sz":
		return fmt.Sprintf("%s %d", name, tail32(key, 2))
	case "sm", "sd", "sa", "sw", "sg":
		return fmt.Sprintf("%s of topic %d from sequence %d", name, tail32(key, 2), tail64(key, 6))
	case "sb":
		return fmt.Sprintf("%s of sequences from %d", name, tail64(key, 2)<<bitmapShift)
	case "sr":
		return fmt.Sprintf("%s of sequences from %d", name, tail64(key, 2)<<receiptBucketShift)
	case "si", "sx", "se", "sn", "sy":
		return fmt.Sprintf("%s of sequence %d", name, binary.BigEndian.Uint64(key[2:]))
	case "sq":
		return fmt.Sprintf("%s of sequence %d", name, tail64(key, 11))
	case "sp":
		return fmt.Sprintf("%s %d", name, tail64(key, 2))
	}
	return fmt.Sprintf("%s %x", name, key[2:])
}
