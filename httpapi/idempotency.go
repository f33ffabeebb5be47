package httpapi

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"
	"sync"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
)

const maxKey = 255 // bytes of an idempotency key

func readKey(r *request, p *publication) (err error) {
	p.DedupeKey, err = r.key()
	return err
}

// key is the idempotency key, "" when none is given.
func (r *request) key() (key string, err error) {
	var room [2]string
	keys := append(r.fields.values(room[:0], nameKey), r.query["idempotency_key"]...)
	for i, text := range keys {
		one, err := parseKey(text)
		switch {
		case err != nil:
			return "", err
		case i > 0 && one != key:
			return "", disagree(nameKey)
		}
		key = one
	}
	return key, nil
}

// parseKey reads a key in double quotes (a string of RFC 8941, as the IETF
// draft asks), or bare: without blanks, quotes, commas, semicolons and
// backslashes. "a" and a are the same key.
func parseKey(text string) (string, error) {
	key := strings.TrimSpace(text)
	if inner, quoted := strings.CutPrefix(key, `"`); quoted {
		unquoted, ok := unquote(inner)
		if !ok {
			return "", problem.New(problem.InvalidKey, "the idempotency key begins with a double quote and is no quoted string")
		}
		return unquoted, checkKey(unquoted)
	}
	if strings.IndexFunc(key, needsQuotes) >= 0 {
		return "", problem.New(problem.InvalidKey, "the idempotency key has a blank, comma, semicolon, backslash or quote: put it into double quotes")
	}
	return key, checkKey(key)
}

func needsQuotes(r rune) bool { return r == ' ' || r == '"' || r == ',' || r == ';' || r == '\\' }

// unquote reads the rest of a quoted string, after its first quote.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

// checkKey holds a key to printable ASCII, so that a key derived from a
// CloudEvent, which has a line break, is never one that a client chose.
func checkKey(key string) error {
	if key == "" {
		return problem.New(problem.InvalidKey, "the idempotency key is empty")
	}
	if len(key) > maxKey {
		return problem.New(problem.InvalidKey, "the idempotency key has %d bytes; at most %d are allowed", len(key), maxKey).WithLimit(maxKey)
	}
	for i := range len(key) {
		if key[i] < 0x20 || key[i] > 0x7e {
			return problem.New(problem.InvalidKey, "the idempotency key has the byte 0x%02x, which is not printable ASCII", key[i])
		}
	}
	return nil
}

// fingerprintVersion is the first byte that goes in. A change of the encoding
// makes every retry across an upgrade a 422, for one window of keys.
const fingerprintVersion = 1

// fingerprint tells the same content from other content under one key. It
// covers what the contract names: topic, body, content type, tag, keys,
// ordering key, properties (the content encoding counts as one), and delay,
// deliver-at and ttl as sent; never the trace context. Every field goes in with
// its length before it, every list with its count.
func fingerprint(m *message.Message, delay, deliverAt, ttl string) (sum [16]byte) {
	props := slices.DeleteFunc(slices.Clone(m.Properties), func(p message.Property) bool { return isTrace(p.Name) })
	w, _ := fingerprints.Get().(*lengthWriter) // New makes no other
	defer fingerprints.Put(w)
	w.buf = append(w.buf[:0], fingerprintVersion)
	w.texts(m.Topic, m.ContentType, m.Tag, m.OrderingKey, m.ContentEncoding, delay, deliverAt, ttl)
	w.length(len(m.Keys))
	w.texts(m.Keys...)
	w.length(len(props))
	for _, p := range props {
		w.texts(p.Name, p.Value)
	}
	w.hash.Reset()
	w.hash.Write(w.buf)
	w.hash.Write(m.Body) // last: it needs no length
	w.buf = w.hash.Sum(w.buf[:0])
	copy(sum[:], w.buf)
	return sum
}

// fingerprints has a lengthWriter for each that is being made.
var fingerprints = sync.Pool{New: func() any { return &lengthWriter{hash: sha256.New()} }}

// isTrace reports the CloudEvents attributes that carry a trace context.
func isTrace(property string) bool {
	return property == "ce-traceparent" || property == "ce-tracestate"
}

// lengthWriter writes texts with eight bytes of length before each, to be hashed.
type lengthWriter struct {
	buf  []byte
	hash hash.Hash
}

func (w *lengthWriter) length(n int) { w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(n)) }

func (w *lengthWriter) texts(texts ...string) {
	for _, t := range texts {
		w.length(len(t))
		w.buf = append(w.buf, t...)
	}
}
