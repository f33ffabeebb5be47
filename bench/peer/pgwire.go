package peer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// pgClient is a connection that inserts rows, in the protocol of PostgreSQL, one
// transaction at a time.
type pgClient struct {
	net.Conn
	messages *bufio.Reader
	content  []byte // of the message that was read last
	request  []byte
}

// pgUser is the superuser of the server that was made for this run.
const pgUser = "bench"

func dialPG(ctx context.Context, addr string) (*pgClient, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer closeWhenDone(ctx, conn)()
	c := newPG(conn)
	if err := c.greet(); err != nil {
		return nil, errors.Join(err, ctx.Err(), conn.Close())
	}
	return c, nil
}

func newPG(conn net.Conn) *pgClient {
	return &pgClient{Conn: conn, messages: bufio.NewReader(conn)}
}

// greet speaks version 3.0 and returns when the server takes statements. A
// server that asks for a password is none of ours.
func (c *pgClient) greet() error {
	hello := []byte("\x00\x00\x00\x00\x00\x03\x00\x00user\x00" + pgUser + "\x00database\x00postgres\x00\x00")
	binary.BigEndian.PutUint32(hello, uint32(len(hello)))
	if _, err := c.Write(hello); err != nil {
		return err
	}
	return c.finish("")
}

// do runs a statement.
func (c *pgClient) do(statement string) error {
	if _, err := c.Write(appendPG(nil, 'Q', statement+"\x00")); err != nil {
		return err
	}
	return c.finish("")
}

// insert is prepared once a connection, under that name.
const insert = "insert\x00INSERT INTO outbox (topic, body) VALUES ('bench', $1)\x00"

func (c *pgClient) prepare() error {
	const bytea = "\x00\x01\x00\x00\x00\x11" // one parameter, and its type
	if _, err := c.Write(appendPG(appendPG(nil, 'P', insert+bytea), 'S', "")); err != nil {
		return err
	}
	return c.finish("")
}

// Send inserts a row; the transaction ends, and is synced, with the statement.
func (c *pgClient) Send(body []byte) error {
	c.request = appendInsert(c.request[:0], body)
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	return c.finish("INSERT 0 1")
}

// appendInsert binds body to the prepared statement as it is, executes it, and
// ends the transaction.
func appendInsert(dst, body []byte) []byte {
	const (
		head = "\x00insert\x00\x00\x01\x00\x01\x00\x01" // no portal; one format: binary; one value
		tail = "\x00\x00"                               // no results
	)
	dst = binary.BigEndian.AppendUint32(append(dst, 'B'), uint32(4+len(head)+4+len(body)+len(tail)))
	dst = binary.BigEndian.AppendUint32(append(dst, head...), uint32(len(body)))
	dst = append(append(dst, body...), tail...)
	return appendPG(appendPG(dst, 'E', "\x00\x00\x00\x00\x00"), 'S', "")
}

// appendPG writes a message: its kind, its length and what it says.
func appendPG(dst []byte, kind byte, content string) []byte {
	return append(binary.BigEndian.AppendUint32(append(dst, kind), uint32(4+len(content))), content...)
}

// finish reads until the server is ready for another statement, outside of a
// transaction, and returns an error when it said one on the way, or did not say
// want of what it had done.
func (c *pgClient) finish(want string) error {
	var failed error
	for done := want == ""; ; {
		kind, err := c.message()
		switch {
		case err != nil:
			return errors.Join(failed, err)
		case kind == 'E':
			failed = errors.New(errorText(c.content))
		case kind == 'C':
			done = done || string(bytes.TrimRight(c.content, "\x00")) == want
		case kind == 'R' && !bytes.Equal(c.content, make([]byte, 4)):
			return errors.New("the server asks for a password")
		case kind == 'Z' && failed == nil && (!done || string(c.content) != "I"):
			return fmt.Errorf("the server is ready (%q) without having said %q", c.content, want)
		case kind == 'Z':
			return failed
		}
	}
}

// message reads one into content.
func (c *pgClient) message() (kind byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(c.messages, head[:]); err != nil {
		return 0, fmt.Errorf("read an answer: %w", err)
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size < 4 || size > 1<<20 {
		return 0, fmt.Errorf("%q does not begin an answer", head)
	}
	c.content = append(c.content[:0], make([]byte, size-4)...)
	if _, err := io.ReadFull(c.messages, c.content); err != nil {
		return 0, fmt.Errorf("read an answer: %w", err)
	}
	return head[0], nil
}

// errorText is the field M of an error: for people.
func errorText(content []byte) string {
	for field := range bytes.SplitSeq(content, []byte{0}) {
		if text, ok := bytes.CutPrefix(field, []byte("M")); ok {
			return string(text)
		}
	}
	return fmt.Sprintf("an error without a text: %q", content)
}
