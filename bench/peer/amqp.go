package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// amqpClient is a connection that publishes to one queue in AMQP 0-9-1, one
// message at a time, and waits for its confirm. What it speaks of the protocol
// is what that needs.
type amqpClient struct {
	net.Conn
	frames    *bufio.Reader
	payload   []byte // of the frame that was read last
	most      int    // bytes of a payload
	request   []byte
	published uint64 // which is the delivery tag of the last message
}

// queue that is published to.
const queue = "bench"

// The kinds of frames.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameEnd       = 0xCE
)

// method is a class and one of its methods.
type method uint32

// The methods that are used, as in the grammar of AMQP 0-9-1.
const (
	connectionStart   method = 10<<16 | 10
	connectionStartOK method = 10<<16 | 11
	connectionTune    method = 10<<16 | 30
	connectionTuneOK  method = 10<<16 | 31
	connectionOpen    method = 10<<16 | 40
	connectionOpenOK  method = 10<<16 | 41
	connectionClose   method = 10<<16 | 50
	channelOpen       method = 20<<16 | 10
	channelOpenOK     method = 20<<16 | 11
	channelClose      method = 20<<16 | 40
	queueDeclare      method = 50<<16 | 10
	queueDeclareOK    method = 50<<16 | 11
	queuePurge        method = 50<<16 | 30
	queuePurgeOK      method = 50<<16 | 31
	basicPublish      method = 60<<16 | 40
	basicReturn       method = 60<<16 | 50
	basicAck          method = 60<<16 | 80
	basicNack         method = 60<<16 | 120
	confirmSelect     method = 85<<16 | 10
	confirmSelectOK   method = 85<<16 | 11
)

// String is its class and number, which the grammar lists.
func (m method) String() string { return fmt.Sprintf("method %d.%d", m>>16, m&0xFFFF) }

func dialAMQP(ctx context.Context, addr string) (*amqpClient, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer closeWhenDone(ctx, conn)()
	c := newAMQP(conn)
	if err := c.greet(); err != nil {
		return nil, errors.Join(err, ctx.Err(), conn.Close())
	}
	return c, nil
}

func newAMQP(conn net.Conn) *amqpClient {
	return &amqpClient{Conn: conn, frames: bufio.NewReader(conn)}
}

// greet opens the connection as the guest of a new server, and a channel on
// which each message is confirmed.
func (c *amqpClient) greet() error {
	if _, err := c.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	if _, err := c.await(connectionStart); err != nil {
		return err
	}
	guest := appendLong(appendShort(make([]byte, 4), "PLAIN"), "\x00guest\x00guest") // after an empty table
	tune, err := c.call(0, connectionStartOK, appendShort(guest, "en_US"), connectionTune)
	if err != nil {
		return err
	}
	if len(tune) != 8 {
		return fmt.Errorf("%v of %d bytes", connectionTune, len(tune))
	}
	size := binary.BigEndian.Uint32(tune[2:])
	if size < 4096 || size > 1<<24 {
		return fmt.Errorf("frames of up to %d bytes are asked for", size)
	}
	c.most = int(size) - frameRoom
	tune = append(append([]byte{}, tune[:6]...), 0, 0) // no heartbeats
	if err := c.tell(0, connectionTuneOK, tune); err != nil {
		return err
	}
	if _, err := c.call(0, connectionOpen, append(appendShort(nil, "/"), 0, 0), connectionOpenOK); err != nil {
		return err
	}
	if _, err := c.call(1, channelOpen, []byte{0}, channelOpenOK); err != nil {
		return err
	}
	_, err = c.call(1, confirmSelect, []byte{0}, confirmSelectOK)
	return err
}

// declare makes the queue: durable, replicated as a quorum queue.
func (c *amqpClient) declare() error {
	const durable = 1 << 1
	table := append(appendShort(nil, "x-queue-type"), 'S')
	table = appendLong(table, "quorum")
	args := append(appendShort([]byte{0, 0}, queue), durable)
	_, err := c.call(1, queueDeclare, appendLong(args, string(table)), queueDeclareOK)
	return err
}

func (c *amqpClient) purge() error {
	_, err := c.call(1, queuePurge, append(appendShort([]byte{0, 0}, queue), 0), queuePurgeOK)
	return err
}

// Send publishes a persistent message, and returns when it is confirmed.
func (c *amqpClient) Send(body []byte) error {
	c.published++
	c.request = appendMessage(c.request[:0], body, c.most)
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	for {
		m, args, err := c.method()
		switch {
		case err != nil:
			return err
		case m != basicAck && m != basicNack:
			return fmt.Errorf("%v instead of a confirm", m)
		case len(args) != 9:
			return fmt.Errorf("%v of %d bytes", m, len(args))
		case m == basicNack:
			return errors.New("the message was refused")
		case binary.BigEndian.Uint64(args) == c.published:
			return nil
		}
	}
}

// call waits for the method that answers.
func (c *amqpClient) call(channel uint16, m method, args []byte, answer method) ([]byte, error) {
	if err := c.tell(channel, m, args); err != nil {
		return nil, err
	}
	return c.await(answer)
}

func (c *amqpClient) tell(channel uint16, m method, args []byte) error {
	_, err := c.Write(appendMethod(nil, channel, m, args))
	return err
}

func (c *amqpClient) await(want method) ([]byte, error) {
	m, args, err := c.method()
	if err == nil && m != want {
		err = fmt.Errorf("%v instead of %v", m, want)
	}
	return args, err
}

// method reads the next one. That the server closes is an error, and says why;
// so is a message that comes back, because it has no queue.
func (c *amqpClient) method() (m method, args []byte, err error) {
	kind, err := c.frame()
	for err == nil && kind == frameHeartbeat {
		kind, err = c.frame()
	}
	switch {
	case err != nil:
		return 0, nil, err
	case kind != frameMethod || len(c.payload) < 4:
		return 0, nil, fmt.Errorf("a frame of kind %d, %d bytes, instead of a method", kind, len(c.payload))
	}
	m, args = method(binary.BigEndian.Uint32(c.payload)), c.payload[4:]
	if m == connectionClose || m == channelClose || m == basicReturn {
		return m, nil, refusal(m, args)
	}
	return m, args, nil
}

// refusal reads the code and the text that such methods begin with.
func refusal(m method, args []byte) error {
	if len(args) < 3 || len(args) < 3+int(args[2]) {
		return fmt.Errorf("%v is cut off", m)
	}
	return fmt.Errorf("%v: %d %s", m, binary.BigEndian.Uint16(args), args[3:3+int(args[2])])
}

// frame reads a frame into payload.
func (c *amqpClient) frame() (kind byte, err error) {
	var head [frameRoom - 1]byte
	if _, err := io.ReadFull(c.frames, head[:]); err != nil {
		return 0, fmt.Errorf("read a frame: %w", err)
	}
	size := binary.BigEndian.Uint32(head[3:])
	if size > 1<<24 {
		return 0, fmt.Errorf("%q does not begin a frame", head)
	}
	c.payload = append(c.payload[:0], make([]byte, size+1)...)
	if _, err := io.ReadFull(c.frames, c.payload); err != nil {
		return 0, fmt.Errorf("read a frame: %w", err)
	}
	if end := c.payload[size]; end != frameEnd {
		return 0, fmt.Errorf("a frame of %d bytes ends in %#x", size, end)
	}
	c.payload = c.payload[:size]
	return head[0], nil
}
