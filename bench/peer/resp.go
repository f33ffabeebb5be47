package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// respClient is a connection that appends to a stream, in the protocol of
// Redis, one command at a time.
type respClient struct {
	net.Conn
	request []byte
	answers *bufio.Reader
}

func dialRESP(ctx context.Context, addr string) (*respClient, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &respClient{Conn: c, answers: bufio.NewReader(c)}, nil
}

// Send appends an entry with one field; the answer is the entry's ID.
func (c *respClient) Send(body []byte) error {
	c.request = append(c.request[:0], "*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nb\r\n"...)
	c.request = appendBulk(c.request, body)
	return c.do(c.request)
}

func (c *respClient) do(command []byte) error {
	if _, err := c.Write(command); err != nil {
		return err
	}
	return readReply(c.answers)
}

// appendCommand encodes a command as an array of strings.
func appendCommand(dst []byte, words ...string) []byte {
	dst = append(strconv.AppendInt(append(dst, '*'), int64(len(words)), 10), "\r\n"...)
	for _, w := range words {
		dst = appendBulk(dst, w)
	}
	return dst
}

func appendBulk[T string | []byte](dst []byte, s T) []byte {
	dst = append(strconv.AppendInt(append(dst, '$'), int64(len(s)), 10), "\r\n"...)
	return append(append(dst, s...), "\r\n"...)
}

// readReply reads a status, a number or a string; an error of the server is an error.
func readReply(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("read a reply: %w", err)
	}
	if len(line) < len("+\r\n") || line[len(line)-2] != '\r' {
		return fmt.Errorf("%q is not a reply", line)
	}
	text := line[1 : len(line)-2]
	switch line[0] {
	case '+', ':':
		return nil
	case '-':
		return errors.New(string(text))
	case '$':
		return skipBulk(r, text)
	}
	return fmt.Errorf("%q is not a reply that is expected here", line)
}

func skipBulk(r *bufio.Reader, length []byte) error {
	n, err := strconv.Atoi(string(length))
	if err != nil || n < 0 {
		return fmt.Errorf("a string of length %q", length)
	}
	if _, err := r.Discard(n); err != nil {
		return fmt.Errorf("read a reply: %w", err)
	}
	if end, err := r.ReadSlice('\n'); err != nil || string(end) != "\r\n" {
		return errors.Join(fmt.Errorf("a string of %d bytes ends in %q", n, end), err)
	}
	return nil
}
