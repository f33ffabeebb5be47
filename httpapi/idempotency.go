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
	if isBareKey(text) { // mostly
		return text, nil
	}
	key := strings.TrimSpace(text)
	if inner, quoted := strings.CutPrefix(key, `"`); quoted {
		unquoted, ok := unquote(inner)
		if !ok {
			return "", problem.New(problem.InvalidKey, "the idempotency key begins with a double quote and is no quoted string")
		}
		return unquoted, checkKey(unquoted)
	}
	if strings.ContainsAny(key, needQuotes) {
		return "", problem.New(problem.InvalidKey, "the idempotency key has a blank, comma, semicolon, backslash or quote: put it into double quotes")
	}
	return key, checkKey(key)
}

// needQuotes are what a bare key has not.
const needQuotes = " \",;\\"

// isBareKey reports a key that is right and stands for itself.
func isBareKey(text string) bool {
	for i := range len(text) {
		if !bareKeyBytes[text[i]] {
			return false
		}
	}
	return text != "" && len(text) <= maxKey
}

var bareKeyBytes = func() (t [256]bool) {
	for c := byte(0x21); c <= 0x7e; c++ {
		t[c] = strings.IndexByte(needQuotes, c) < 0
	}
	return t
}()

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
	h, _ := hashers.Get().(*hasher) // New makes no other
	defer hashers.Put(h)
	b := h.room[:0] // in a local one: each append to it is one write barrier less
	b = append(b, fingerprintVersion)
	b = appendSized(b, m.Topic, m.ContentType, m.Tag, m.OrderingKey, m.ContentEncoding, delay, deliverAt, ttl)
	b = appendSized(appendSize(b, len(m.Keys)), m.Keys...)
	b = appendSize(b, len(props))
	for _, p := range props {
		b = appendSized(b, p.Name, p.Value)
	}
	h.Reset()
	h.Write(b)
	h.Write(m.Body) // last: it needs no length
	copy(sum[:], h.Sum(b[:0]))
	return sum
}

// hasher is what a fingerprint is made with.
type hasher struct {
	hash.Hash
	room []byte // of most
}

var hashers = sync.Pool{New: func() any { return &hasher{sha256.New(), make([]byte, 0, 512)} }}

// isTrace reports the CloudEvents attributes that carry a trace context.
func isTrace(property string) bool {
	return property == "ce-traceparent" || property == "ce-tracestate"
}

// appendSized appends texts with eight bytes of length before each, to be hashed.
func appendSized(b []byte, texts ...string) []byte {
	for _, t := range texts {
		b = append(appendSize(b, len(t)), t...)
	}
	return b
}

func appendSize(b []byte, n int) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }
