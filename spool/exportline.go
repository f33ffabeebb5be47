package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// An export is lines of JSON, each ended by a line feed:
//
//	{"remora_export":6,"spool":"0a1b2c3d4e","created_at":"…"}     the header
//	{"crc32c":"89abcdef","message":{"id":"…","topic":"…",…}}      a line a message that is held
//	{"crc32c":"4567cdef","transaction":{"id":"…","messages":[…]}} a line an open transaction, with its messages
//	{"crc32c":"0cdef123","decided":{"id":"…","messages":["…"]}}   a line a decided transaction, with their IDs
//	{"crc32c":"01234567","key":{"hash":"…","id":"…",…}}           a line an idempotency key of one that is settled
//	{"messages":2,"transactions":1,"decided":1,"keys":1,"sha256":"…"}  the trailer
//
// crc32c is of the bytes of the message, transaction or key as they stand in the line, sha256
// of all lines before the trailer. A file without its trailer is not whole.
//
// Format 5, which is written where no message may be for a broker's timer, or none is a dead
// letter, has no dead letters with a time. Format 4, which is written of a part of a spool,
// has no decided transactions; format 3, which is written where there are none, no
// transactions. Formats 2 and 1 are read, and no more written: 2 has no TTL, 1 no origins
// and no keys, neither in lines of their own nor with a message.
const (
	exportVersion        = 6
	exportVersionDecided = 5
	exportVersionHalf    = 4
	exportVersionTTL     = 3
)

// ErrExport reports a line, or a file, that is not what Export wrote.
var ErrExport = errors.New("not what an export has")

type headerLine struct {
	Version   int       `json:"remora_export"`
	Spool     string    `json:"spool"`
	CreatedAt time.Time `json:"created_at"`
}

type contentLine struct {
	CRC     string          `json:"crc32c"`
	Message json.RawMessage `json:"message"`

	Transaction json.RawMessage `json:"transaction"`

	Decided json.RawMessage `json:"decided"`

	Key json.RawMessage `json:"key"`
}

type trailerLine struct {
	Messages     *int   `json:"messages"`
	Transactions int    `json:"transactions,omitempty"`
	Decided      int    `json:"decided,omitempty"`
	Keys         int    `json:"keys"`
	SHA256       string `json:"sha256"`
}

// line is what stands in a line: a message, with its key if it has one, a
// transaction that is open or decided, or the key of a message that is settled.
type line struct {
	item    *Item
	key     *exportedKey
	settled *settledKey

	transaction *importedTransaction
	decided     *Transaction
}

// appendLine appends the line of x, which is of that kind: message, transaction, decided or
// key.
func appendLine(b []byte, kind string, x any) ([]byte, error) {
	raw, err := json.Marshal(x)
	if err != nil {
		return b, err
	}
	b = fmt.Appendf(b, `{"crc32c":"%08x",%q:`, crc32.Checksum(raw, castagnoli), kind)
	return append(append(b, raw...), "}\n"...), nil
}

// decodeLine reads a line between header and trailer.
func decodeLine(text []byte, version int) (line, error) {
	var l contentLine
	if err := strict(text, &l); err != nil {
		return line{}, err
	}
	if version == 1 {
		l.Key = nil
	}
	raw, err := l.only()
	if err != nil {
		return line{}, err
	}
	if got := fmt.Sprintf("%08x", crc32.Checksum(raw, castagnoli)); got != l.CRC {
		return line{}, fmt.Errorf("%w: its crc32c is %s, and says %.20q", ErrExport, got, l.CRC)
	}
	switch {
	case l.Transaction != nil:
		return decodeTransactionLine(l.Transaction, version)
	case l.Decided != nil:
		return decodeDecidedLine(l.Decided, version)
	case l.Message != nil:
		return decodeMessage(l.Message, version)
	default:
		return decodeSettledKey(raw)
	}
}

// only returns what the line has, which is of one kind.
func (l *contentLine) only() (raw json.RawMessage, err error) {
	for _, x := range [...]json.RawMessage{l.Message, l.Transaction, l.Decided, l.Key} {
		if x != nil && raw != nil {
			return nil, fmt.Errorf("%w: it has more than a message, a transaction or a key", ErrExport)
		}
		if x != nil {
			raw = x
		}
	}
	return raw, nil
}

// strict decodes one JSON value, in which nothing is unknown and which nothing
// follows.
func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrExport, err)
	}
	if d.More() {
		return fmt.Errorf("%w: something follows the line's value", ErrExport)
	}
	return nil
}
