package peer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"crypto/rand"
)

// natsClient is a connection that asks and waits for the answer, in the protocol
// of NATS, one request at a time.
type natsClient struct {
	net.Conn
	inbox   string // the subject of its answers
	request []byte
	lines   *bufio.Reader
	answer  []byte
}

// natsHello asks to be told at once when nobody takes a message.
const natsHello = `CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}` + "\r\n"

func dialNATS(ctx context.Context, addr string) (*natsClient, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer closeWhenDone(ctx, conn)()
	c := newNATS(conn)
	if err := c.greet(); err != nil {
		return nil, errors.Join(err, ctx.Err(), conn.Close())
	}
	return c, nil
}

func newNATS(conn net.Conn) *natsClient {
	var id [12]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand.Read documents it
	return &natsClient{Conn: conn, lines: bufio.NewReader(conn), inbox: "_INBOX." + hex.EncodeToString(id[:])}
}

// greet subscribes to the answers, and returns when the server has said so.
func (c *natsClient) greet() error {
	if line, err := c.line(); err != nil || !bytes.HasPrefix(line, []byte("INFO ")) {
		return errors.Join(fmt.Errorf("%q is not the greeting of NATS", line), err)
	}
	if _, err := c.Write([]byte(natsHello + "SUB " + c.inbox + " 1\r\nPING\r\n")); err != nil {
		return err
	}
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if string(line) == "PONG" {
			return nil
		}
	}
}

// Send publishes to the stream; the answer is its sequence there.
func (c *natsClient) Send(body []byte) error { return c.ask("bench", body) }

// ask returns an error when the answer is one.
func (c *natsClient) ask(subject string, request []byte) error {
	c.request = append(append(append(append(c.request[:0], "PUB "...), subject...), ' '), c.inbox...)
	c.request = strconv.AppendInt(append(c.request, ' '), int64(len(request)), 10)
	c.request = append(append(append(c.request, "\r\n"...), request...), "\r\n"...)
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	for {
		line, err := c.line()
		if err != nil {
			return err
		}
		if size, ok := bytes.CutPrefix(line, []byte("MSG "+c.inbox+" 1 ")); ok {
			return c.readAnswer(size)
		}
		if bytes.HasPrefix(line, []byte("HMSG ")) {
			return fmt.Errorf("nobody takes what is sent to %s", subject)
		}
		if !bytes.HasPrefix(line, []byte("INFO ")) { // which may come at any time
			return fmt.Errorf("%q is not an answer that is expected here", line)
		}
	}
}

// line reads the next one, without its end. It answers pings, and makes what
// the server complains of an error.
func (c *natsClient) line() ([]byte, error) {
	for {
		line, err := c.lines.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("read an answer: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case string(line) == "PING":
			if _, err := c.Write([]byte("PONG\r\n")); err != nil {
				return nil, err
			}
		case bytes.HasPrefix(line, []byte("-ERR ")):
			return nil, errors.New(string(line[len("-ERR "):]))
		default:
			return line, nil
		}
	}
}

func (c *natsClient) readAnswer(size []byte) error {
	n, err := strconv.Atoi(string(size))
	if err != nil || n < 0 || n > 1<<20 {
		return fmt.Errorf("an answer of length %q", size)
	}
	c.answer = append(c.answer[:0], make([]byte, n+len("\r\n"))...)
	if _, err := io.ReadFull(c.lines, c.answer); err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	return parseAnswer(c.answer[:n])
}

// parseAnswer tells whether JetStream did what it was asked for: a message has
// then a sequence, another request a type.
func parseAnswer(text []byte) error {
	var answer struct {
		Type     string `json:"type"`
		Sequence uint64 `json:"seq"`
		Error    *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(text, &answer); {
	case err != nil:
		return fmt.Errorf("read the answer %q: %w", text, err)
	case answer.Error != nil:
		return errors.New(answer.Error.Description)
	case answer.Sequence == 0 && answer.Type == "":
		return fmt.Errorf("%q does not say that anything was done", text)
	}
	return nil
}
