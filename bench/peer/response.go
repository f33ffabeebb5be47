package peer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// response reads the answers on a connection without pipelining: whatever
// follows an answer before the next request is an error.
type response struct{ buf [16 << 10]byte }

var errAnswer = errors.New("not an HTTP/1.1 answer with a Content-Length")

// read returns status and content of one answer. The content is valid until
// the next read.
func (r *response) read(from io.Reader) (status int, content []byte, err error) {
	head, status, length := 0, 0, 0
	for n := 0; ; {
		m, err := from.Read(r.buf[n:])
		if n += m; head == 0 {
			if head = endOfHead(r.buf[:n]); head > 0 {
				if status, length, err = parseHead(r.buf[:head]); err != nil {
					return 0, nil, err
				}
			}
		}
		switch {
		case head > 0 && n == head+length:
			return status, r.buf[head:n], nil
		case head > 0 && n > head+length:
			return 0, nil, fmt.Errorf("%d bytes follow an answer", n-head-length)
		case err != nil:
			return 0, nil, fmt.Errorf("read an answer: %w", err)
		case n == len(r.buf):
			return 0, nil, fmt.Errorf("the answer has more than %d bytes", n)
		}
	}
}

// endOfHead is the length of the head with its empty line; 0: not all has come.
func endOfHead(b []byte) int {
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return i + 4
	}
	return 0
}

var contentLength = []byte("Content-Length:")

func parseHead(head []byte) (status, length int, err error) {
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("%w: %.100q", errAnswer, line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("%w: %.100q", errAnswer, line)
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil || length < 0 {
				return 0, 0, fmt.Errorf("%w: %.100q", errAnswer, line)
			}
			return status, length, nil
		}
	}
	return 0, 0, fmt.Errorf("%w: it has none", errAnswer)
}
