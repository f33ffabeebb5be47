package e2e

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// fault is what becomes of a request that a broker is sent.
type fault int

const (
	none      fault = iota
	swallowed       // it does not arrive, and its connection ends
	unheard         // it is done, its answer does not arrive, and its connection ends
	pretended       // it does not arrive, and is answered with success
)

// endTransaction is the request code END_TRANSACTION.
const endTransaction = 37

// between stands between the clients of a broker and the broker, and has faults happen
// to the requests that tell it decisions.
type between struct {
	to string
	ln net.Listener

	mu      sync.Mutex
	next    fault
	counts  map[fault]int
	open    sync.WaitGroup
	clients map[net.Conn]bool
}

// newBetween listens where a broker is said to be, until the end of the test.
func newBetween(t *testing.T, advertised, to string) *between {
	t.Helper()
	ln, err := net.Listen("tcp", advertised)
	if err != nil {
		t.Fatal(err)
	}
	b := &between{to: to, ln: ln, counts: map[fault]int{}, clients: map[net.Conn]bool{}}
	b.open.Go(b.accept)
	t.Cleanup(b.close)
	return b
}

// set says what happens from now on.
func (b *between) set(f fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next = f
}

// times is how often a fault has happened.
func (b *between) times(f fault) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[f]
}

func (b *between) take(code int) fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	if code != endTransaction {
		return none
	}
	b.counts[b.next]++
	return b.next
}

func (b *between) close() {
	_ = b.ln.Close()
	b.mu.Lock()
	for c := range b.clients {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.open.Wait()
}

func (b *between) accept() {
	for {
		client, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.clients[client] = true
		b.mu.Unlock()
		b.open.Go(func() {
			b.join(client)
			b.mu.Lock()
			delete(b.clients, client)
			b.mu.Unlock()
		})
	}
}

// join ends when either side does: both are closed then.
func (b *between) join(client net.Conn) {
	defer client.Close()
	broker, err := net.Dial("tcp", b.to)
	if err != nil {
		return
	}
	defer broker.Close()
	var writing sync.Mutex // to the client
	b.open.Go(func() {
		defer client.Close()
		for {
			frame, err := readFrame(broker)
			if err != nil {
				return
			}
			writing.Lock()
			_, err = client.Write(frame)
			writing.Unlock()
			if err != nil {
				return
			}
		}
	})
	for {
		frame, err := readFrame(client)
		if err != nil {
			return
		}
		h, err := headerOf(frame)
		if err != nil {
			return
		}
		switch b.take(h.Code) {
		case swallowed:
			return
		case pretended:
			writing.Lock()
			_, err = client.Write(successTo(h))
			writing.Unlock()
		case unheard:
			b.unheard(frame)
			return
		default:
			_, err = broker.Write(frame)
		}
		if err != nil {
			return
		}
	}
}

// unheard has a request done over a connection of its own, and returns when it is.
func (b *between) unheard(frame []byte) {
	broker, err := net.Dial("tcp", b.to)
	if err != nil {
		return
	}
	defer broker.Close()
	if _, err = broker.Write(frame); err == nil {
		_, _ = readFrame(broker)
	}
}

// header is that of a frame, as far as it matters here.
type header struct {
	Code     int    `json:"code"`
	Language string `json:"language"`
	Version  int    `json:"version"`
	Opaque   int32  `json:"opaque"`
	Flag     int    `json:"flag"`
}

// readFrame reads one whole, with its length.
func readFrame(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size < 4 || size > 16<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	frame := make([]byte, 4+size)
	copy(frame, length[:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// headerOf reads the header of a request, which is JSON.
func headerOf(frame []byte) (h header, err error) {
	size := binary.BigEndian.Uint32(frame[4:])
	if int(size) > len(frame)-8 {
		return h, fmt.Errorf("a header of %#x bytes", size)
	}
	return h, json.Unmarshal(frame[8:8+size], &h)
}

// successTo is an answer.
func successTo(h header) []byte {
	text, err := json.Marshal(header{Language: "JAVA", Opaque: h.Opaque, Flag: 1})
	if err != nil {
		panic(err) // it has nothing that cannot be written
	}
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(text)))
	return append(binary.BigEndian.AppendUint32(frame, uint32(len(text))), text...)
}
