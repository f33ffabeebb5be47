package httpapi

import (
	"bytes"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// field is one header field of a request; its name is in lower case.
type field struct {
	is          name
	name, value string
}

// fields are a request's header.
type fields struct {
	all  []field // in the order sent
	seen name    // those that are in it
}

func (f *fields) has(of name) bool { return f.seen&of != 0 }

// index is where the first of the names stands, -1 when there is none.
func (f *fields) index(of name) int {
	if f.has(of) {
		for i := range f.all {
			if f.all[i].is&of != 0 {
				return i
			}
		}
	}
	return -1
}

// get returns the first value of a name, "" when there is none.
func (f *fields) get(one name) string {
	if i := f.index(one); i >= 0 {
		return f.all[i].value
	}
	return ""
}

// values appends every value of a name.
func (f *fields) values(values []string, one name) []string {
	if f.has(one) {
		for i := range f.all {
			if f.all[i].is == one {
				values = append(values, f.all[i].value)
			}
		}
	}
	return values
}

// list returns the values of a list field joined as RFC 9110, 5.3 says.
func (f *fields) list(one name) string {
	var room [2]string
	return strings.Join(f.values(room[:0], one), ", ")
}

// parse reads a raw header block again, after fasthttp, and strictly: it refuses what
// two readers could understand differently (RFC 9112, 5.1, 5.2, 6.1). The fields share
// no memory with raw.
func (f *fields) parse(raw []byte, http10 bool) error {
	var block [1024]byte // of most requests
	lower := append(block[:0], raw...)
	var room [16]span // likewise
	spans, err := scanLines(room[:0], lower)
	if err != nil {
		return err
	}
	text := string(lower)
	for _, s := range spans {
		one := field{name: text[s.start:s.colon], value: trimBlanks(text[s.colon+1 : s.end])}
		one.is = nameOf(one.name)
		if one.is&atMostOnce&f.seen != 0 {
			return malformed("the header %q is given more than once", one.name)
		}
		f.seen |= one.is
		f.all = append(f.all, one)
	}
	return f.checkFraming(http10)
}

func trimBlanks(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
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
func (f *fields) checkFraming(http10 bool) error {
	hasLength, hasCoding := f.has(nameContentLength), f.has(nameTransferEncoding)
	switch {
	case hasLength && hasCoding:
		return malformed("both Content-Length and Transfer-Encoding are given; send one of them")
	case hasCoding && http10:
		return malformed("HTTP/1.0 has no Transfer-Encoding; send Content-Length")
	case hasCoding && !strings.EqualFold(f.get(nameTransferEncoding), "chunked"):
		return malformed("the Transfer-Encoding is not chunked")
	case hasLength && !isNumber(f.get(nameContentLength)):
		return malformed("the Content-Length is not a number")
	}
	return nil
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
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
