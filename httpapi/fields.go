package httpapi

import (
	"bytes"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// field is where a header field stands: its name, up to the colon, and its value,
// without the blanks around it.
type field struct {
	is                     name
	start, colon, from, to int
}

// fields are a request's header.
type fields struct {
	text string  // names in lower case
	all  []field // in the order sent
	seen name    // those that are in it
}

func (f *fields) name(i int) string  { return f.text[f.all[i].start:f.all[i].colon] }
func (f *fields) value(i int) string { return f.text[f.all[i].from:f.all[i].to] }

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
		return f.value(i)
	}
	return ""
}

// values appends every value of a name.
func (f *fields) values(values []string, one name) []string {
	if f.has(one) {
		for i := range f.all {
			if f.all[i].is == one {
				values = append(values, f.value(i))
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

// closes reports that the client wants the connection to end with the answer (RFC 9112,
// 9.6). fasthttp sees that only where it is written as one word, in lower case.
func (f *fields) closes() bool {
	if f.has(nameConnection) {
		for option := range strings.SplitSeq(f.list(nameConnection), ",") {
			if strings.EqualFold(strings.Trim(option, " \t"), "close") {
				return true
			}
		}
	}
	return false
}

// parse reads a raw header block again, after fasthttp, and strictly: it refuses what
// two readers could understand differently (RFC 9112, 5.1, 5.2, 6.1). The fields share
// no memory with raw.
func (f *fields) parse(raw []byte, http10 bool) error {
	var block [1024]byte // of most requests
	lower := append(block[:0], raw...)
	if err := f.scan(lower); err != nil {
		return err
	}
	f.text = string(lower)
	for i := range f.all {
		one := &f.all[i]
		one.is = nameOf(f.name(i))
		if one.is&atMostOnce&f.seen != 0 {
			return malformed("the header %q is given more than once", f.name(i))
		}
		f.seen |= one.is
	}
	return f.checkFraming(http10)
}

// scan notes where the fields are, and puts their names into lower case.
func (f *fields) scan(block []byte) error {
	for at := 0; at < len(block); {
		n := bytes.IndexByte(block[at:], '\n')
		if n < 1 || block[at+n-1] != '\r' {
			return malformed("a header line does not end in CR LF")
		}
		line := block[at : at+n-1]
		if len(line) == 0 && at+n+1 == len(block) {
			break
		}
		colon, err := scanField(line)
		if err != nil {
			return err
		}
		from, to := withoutBlanks(line, colon+1)
		f.all = append(f.all, field{start: at, colon: at + colon, from: at + from, to: at + to})
		at += n + 1
	}
	return nil
}

// withoutBlanks is where that begins and ends which stands in a line from there on.
func withoutBlanks(line []byte, from int) (begin, end int) {
	isBlank := func(c byte) bool { return c == ' ' || c == '\t' }
	end = len(line)
	for from < end && isBlank(line[from]) {
		from++
	}
	for from < end && isBlank(line[end-1]) {
		end--
	}
	return from, end
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
