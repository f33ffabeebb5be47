package chaos

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// link is what lies between the sidecar and a node: a proxy that hands everything
// on, until something is done to it. What was done to connections that are open
// goes on and ends with them open, which is why this is not Toxiproxy: its 2.12
// waits for ever when a toxic is taken from a connection that ends meanwhile
// (ToxicLink.RemoveToxic, while the link's write waits for the same lock).
type link struct {
	name, at, upstream string

	mu       sync.Mutex
	listener net.Listener // nil while it is down
	open     map[*connection]struct{}
	toxics   []*toxic
	running  sync.WaitGroup
}

// newLink listens at an address and leads to upstream, until t ends.
func newLink(t *testing.T, name, at, upstream string) *link {
	t.Helper()
	l := &link{name: name, at: at, upstream: upstream, open: map[*connection]struct{}{}}
	must(t, l.up())
	t.Cleanup(l.down)
	return l
}

// up takes connections again.
func (l *link) up() error {
	listener, err := net.Listen("tcp", l.at)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener = listener
	l.running.Go(func() { l.accept(listener) })
	return nil
}

// down closes all connections, and has new ones refused.
func (l *link) down() {
	l.mu.Lock()
	if l.listener != nil {
		_ = l.listener.Close() // nothing is to be saved
		l.listener = nil
	}
	for c := range l.open {
		c.end()
	}
	l.mu.Unlock()
	l.running.Wait()
}

func (l *link) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // it was closed
		}
		l.running.Go(func() { l.serve(listener, client) })
	}
}

// serve hands on what comes from both sides until one of them ends.
func (l *link) serve(of net.Listener, client net.Conn) {
	defer client.Close()
	node, err := net.DialTimeout("tcp", l.upstream, 2*time.Second)
	if err != nil {
		return
	}
	defer node.Close()
	c := &connection{client: client, node: node, over: make(chan struct{})}
	l.mu.Lock()
	late := l.listener != of
	if !late {
		l.open[c] = struct{}{}
	}
	l.mu.Unlock()
	if late {
		return // it went down meanwhile
	}
	var ways sync.WaitGroup
	for _, p := range []*pipe{{l, c, toBroker, client, node, map[*toxic]int{}}, {l, c, fromBroker, node, client, map[*toxic]int{}}} {
		ways.Go(p.run)
	}
	ways.Wait()
	l.mu.Lock()
	delete(l.open, c)
	l.mu.Unlock()
}

// connection is one that is open, and its other half.
type connection struct {
	client, node net.Conn
	over         chan struct{}
	once         sync.Once
}

// end closes both halves.
func (c *connection) end() {
	c.once.Do(func() {
		close(c.over)
		_ = errors.Join(c.client.Close(), c.node.Close()) // nothing is to be saved
	})
}

// reset closes both halves without a word of farewell.
func (c *connection) reset() {
	for _, half := range []net.Conn{c.client, c.node} {
		if tcp, ok := half.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	c.end()
}

// swallow lets nothing through any more and closes nothing: a cable that was cut.
// What is sent meanwhile never arrives: restore breaks the connections on which
// anything was sent.
func (l *link) swallow() (restore func()) {
	both := []*toxic{newToxic(timeout, toBroker, 0), newToxic(timeout, fromBroker, 0)}
	for _, x := range both {
		l.add(x)
	}
	return func() {
		for _, x := range both {
			l.remove(x)
		}
	}
}

// vanish closes the connections, and lets dials to the address hang: a machine
// that is gone.
func (l *link) vanish(t *testing.T) (restore func()) {
	t.Helper()
	l.down()
	hole := newBlackHole(t, l.at)
	fill := sync.OnceFunc(hole.close)
	t.Cleanup(fill) // others use the address
	return func() {
		fill()
		must(t, l.up())
	}
}

// blackHole is a listener whose backlog is full: the kernel drops what asks to
// connect.
type blackHole struct {
	socket  int
	waiting []net.Conn
}

func newBlackHole(t *testing.T, at string) *blackHole {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp4", at)
	must(t, err)
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	h := &blackHole{socket: socket}
	must(t, unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	must(t, unix.Bind(socket, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}))
	must(t, unix.Listen(socket, 0))
	for range 8 { // more than its backlog holds
		conn, err := net.DialTimeout("tcp", at, 200*time.Millisecond)
		if err != nil {
			return h
		}
		h.waiting = append(h.waiting, conn)
	}
	t.Fatalf("%s still takes connections", at)
	return nil
}

func (h *blackHole) close() {
	_ = unix.Close(h.socket) // nothing is to be saved
	for _, conn := range h.waiting {
		_ = conn.Close()
	}
}
