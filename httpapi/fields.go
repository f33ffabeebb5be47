package httpapi

import (
	"bytes"
	"slices"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// field is one header field; its name is in lower case.
type field struct{ name, value string }

// fields are a request's header, in the order sent.
type fields []field

// get returns the first value of a name, "" when there is none.
func (f fields) get(name string) string {
	for _, h := range f {
		if h.name == name {
			return h.value
		}
	}
	return ""
}

func (f fields) has(name string) bool {
	return slices.ContainsFunc(f, func(h field) bool { return h.name == name })
}

// all returns every value of a name.
func (f fields) all(name string) []string { return f.appendAll(nil, name) }

func (f fields) appendAll(values []string, name string) []string {
	for _, h := range f {
		if h.name == name {
			values = append(values, h.value)
		}
	}
	return values
}

// list returns the values of a list field joined as RFC 9110, 5.3 says.
func (f fields) list(name string) string { return strings.Join(f.all(name), ", ") }

// atMostOnce are fields where a second one would leave open which counts.
var atMostOnce = []string{"host", "content-length", "transfer-encoding", "content-type", "authorization", "origin", "sec-fetch-site", "traceparent", "expect"}

// parseFields reads a raw header block again, after fasthttp, and strictly: it
// refuses what two readers could understand differently (RFC 9112, 5.1, 5.2,
// 6.1). It appends the fields to f; they share no memory with raw.
func parseFields(f fields, raw []byte, http10 bool) (fields, error) {
	var block [1024]byte // of most requests
	lower := append(block[:0], raw...)
	var room [16]span // likewise
	spans, err := scanLines(room[:0], lower)
	if err != nil {
		return nil, err
	}
	text := string(lower)
	for _, s := range spans {
		f = append(f, field{name: text[s.start:s.colon], value: strings.Trim(text[s.colon+1:s.end], " \t")})
	}
	return f, checkFraming(f, http10)
}

// span is where a field stands in its block.
type span struct{ start, colon, end int }

// scanLines appends where the fields are, and puts their names into lower case.
func scanLines(spans []span, block []byte) ([]span, error) {
	for at := 0; at < len(block); {
		n := bytes.IndexByte(block[at:], '\n')
		if n < 1 || block[at+n-1] != '\r' {
			return nil, malformed("a header line does not end in CR LF")
		}
		line := block[at : at+n-1]
		if len(line) == 0 && at+n+1 == len(block) {
			break
		}
		colon, err := scanField(line)
		if err != nil {
			return nil, err
		}
		spans = append(spans, span{start: at, colon: at + colon, end: at + n - 1})
		at += n + 1
	}
	return spans, nil
}

func scanField(line []byte) (colon int, err error) {
	colon = bytes.IndexByte(line, ':')
	if colon <= 0 {
		return 0, malformed("a header line has no name")
	}
	for i, c := range line[:colon] {
		if !isTokenByte(c) {
			return 0, malformed("a header name has the byte 0x%02x; lines must not be folded", c)
		}
		if c >= 'A' && c <= 'Z' {
			line[i] = c | 0x20
		}
	}
	for _, c := range line[colon+1:] {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return 0, malformed("the value of header %q has the control character 0x%02x", string(line[:colon]), c)
		}
	}
	return colon, nil
}

// checkFraming makes sure that the body's end is where everyone sees it.
func checkFraming(f fields, http10 bool) error {
	for i, h := range f {
		if slices.Contains(atMostOnce, h.name) && f[:i].has(h.name) {
			return malformed("the header %q is given more than once", h.name)
		}
	}
	length, coding := f.get("content-length"), f.get("transfer-encoding")
	hasLength, hasCoding := f.has("content-length"), f.has("transfer-encoding")
	switch {
	case hasLength && hasCoding:
		return malformed("both Content-Length and Transfer-Encoding are given; send one of them")
	case hasCoding && http10:
		return malformed("HTTP/1.0 has no Transfer-Encoding; send Content-Length")
	case hasCoding && !strings.EqualFold(coding, "chunked"):
		return malformed("the Transfer-Encoding is not chunked")
	case hasLength && (length == "" || strings.Trim(length, "0123456789") != ""):
		return malformed("the Content-Length is not a number")
	}
	return nil
}

func malformed(format string, args ...any) error {
	return problem.New(problem.InvalidRequest, format, args...)
}

// isTokenByte reports the bytes of an RFC 9110 token.
func isTokenByte(c byte) bool { return tokenBytes[c] }

var tokenBytes = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()
