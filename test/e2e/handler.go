package e2e

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// handlerTimeout is the subscriptions' timeout; a handler that takes nearly as
// long can't know whether its 200 counted.
const (
	handlerTimeout = 4 * time.Second
	surelyInTime   = 3 * time.Second
)

// handler is the application that consumes.
type handler struct {
	facts  *history
	choose func(*visit) answer
	server *http.Server
	ended  chan struct{} // closed: server has
	addr   string
	side   *sidecar       // that calls; set before it is started
	called func(*visit)   // looks at a call before it is answered; nil: nobody does
	later  sync.WaitGroup // acks by ID
}

// visit is a call of the handler that is to be answered.
type visit struct {
	w     http.ResponseWriter
	r     *http.Request
	id    string
	facts *history
	to    *handler
	call  *call
	nth   int // call of this message, from 1
}

// answer ends a visit: with done, or as something that is not a 200.
type answer func(*visit)

func startHandler(t *testing.T, facts *history, choose func(*visit) answer) *handler {
	t.Helper()
	// Outgoing connections have other addresses: the port stays ours while nobody listens.
	h := &handler{facts: facts, choose: choose, addr: "127.0.0.3:0"}
	must(t, h.Start())
	t.Cleanup(func() {
		must(t, h.Kill())
		h.later.Wait()
	})
	return h
}

// Name is that of the application.
func (h *handler) Name() string { return "application of the " + h.side.Name() }

// Start listens where it did before.
func (h *handler) Start() error {
	ln, err := net.Listen("tcp", h.addr)
	if err != nil {
		return err
	}
	h.addr, h.ended = ln.Addr().String(), make(chan struct{})
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() {
		defer close(h.ended)
		_ = h.server.Serve(ln) // until it is closed
	}()
	return nil
}

// Kill is the application's death: nobody listens, and all its connections are gone.
func (h *handler) Kill() error {
	_ = h.server.Close() // nothing is to be saved
	<-h.ended
	return nil
}

// url is the handler's for a topic.
func (h *handler) url(topic string) string { return "http://" + h.addr + "/" + topic }

// ServeHTTP notes the call before it answers it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sidecar was killed while it sent
	}
	c := delivered(r.Header, body)
	v := &visit{w: w, r: r, id: r.Header.Get("Mq-Message-Id"), facts: h.facts, to: h}
	if key := r.Header.Get("Idempotency-Key"); key != strconv.Quote(v.id) {
		h.facts.complain("delivery of %s has Idempotency-Key %s", v.id, key)
	}
	if r.URL.Path != "/"+c.topic {
		h.facts.complain("%s of topic %s was delivered to %s", v.id, c.topic, r.URL.Path)
	}
	v.call, v.nth = h.facts.begin(v.id, h.side.Name(), lifeOf(r.Header.Get("Mq-Delivery-Id")), c)
	if h.called != nil {
		h.called(v)
	}
	h.choose(v)(v)
}

// lifeOf is what the IDs of all calls have in common that one subscription of
// one process makes; a number follows.
func lifeOf(delivery string) string {
	return delivery[:max(strings.LastIndexByte(delivery, '-'), 0)]
}

// draw is a number below n that follows from the seed, the message's content
// and how often it was called for.
func (v *visit) draw(seed uint64, n uint64) uint64 {
	mixed := binary.LittleEndian.Uint64(v.call.digest[:]) ^ (seed+uint64(v.nth))*0x9E3779B97F4A7C15
	return (mixed >> 8) % n
}

// done is the only answer that may be an ack.
func done(v *visit) { v.finish(true, func() { v.w.WriteHeader(http.StatusOK) }) }

func (v *visit) finish(answered bool, write func()) {
	v.facts.end(v.id, v.call, answered)
	write()
}

// status answers with one that is not an ack.
func status(code int) answer {
	return func(v *visit) { v.finish(false, func() { v.w.WriteHeader(code) }) }
}

// after answers later.
func after(wait time.Duration, then answer) answer {
	return func(v *visit) {
		select {
		case <-time.After(wait):
		case <-v.r.Context().Done(): // the sidecar is gone
		}
		then(v)
	}
}

// silence gives no answer until the sidecar gives up.
func silence(v *visit) {
	<-v.r.Context().Done()
	v.finish(false, func() {})
}

// until answers when the channel is closed, and never if the sidecar goes first.
func until(open <-chan struct{}, then answer) answer {
	return func(v *visit) {
		select {
		case <-open:
			then(v)
		case <-v.r.Context().Done():
			v.finish(false, func() {})
		}
	}
}

// wait asks for a pause.
func wait(v *visit) {
	v.w.Header().Set("Retry-After", "1")
	status(http.StatusServiceUnavailable)(v)
}

// reset breaks the connection after the whole request was read.
func reset(v *visit) {
	v.hijack(func(conn net.Conn) {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // the close shall be a reset
		}
	})
}

// torn begins a 200 and does not end it.
func torn(v *visit) {
	v.hijack(func(conn net.Conn) {
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
	})
}

func (v *visit) hijack(do func(net.Conn)) {
	v.finish(false, func() {
		conn, _, err := http.NewResponseController(v.w).Hijack()
		if err != nil {
			return // the sidecar was killed
		}
		do(conn)
		_ = conn.Close()
	})
}

// ack says by its ID that a delivery is done. The sidecar may have been killed: then
// the message comes again.
func (h *handler) ack(delivery string) {
	ctx, cancel := context.WithTimeout(context.Background(), surelyInTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.side.Addresses().Data[0]+"/v1/deliveries/"+delivery+"/ack", nil)
	if err != nil {
		h.facts.complain("ack of delivery %s: %v", delivery, err)
		return
	}
	if res, err := http.DefaultClient.Do(r); err == nil {
		_ = res.Body.Close()
	}
}

// lapse takes the message on a lease, and never says what became of it.
func lapse(v *visit) {
	v.w.Header().Set("MQ-Lease", "1s")
	status(http.StatusAccepted)(v)
}

// ackLater takes the message on a lease, and acks it by its ID.
func ackLater(v *visit) {
	v.w.Header().Set("MQ-Lease", surelyInTime.String())
	v.w.WriteHeader(http.StatusAccepted)
	delivery := v.r.Header.Get("Mq-Delivery-Id")
	v.to.later.Go(func() {
		time.Sleep(time.Duration(v.draw(0, 300)) * time.Millisecond) // before the answer is read, or after
		v.finish(true, func() { v.to.ack(delivery) })
	})
}

// moody fails about one call in ten, in every way there is, and acks another few
// by their ID.
func moody(seed uint64) func(*visit) answer {
	failures := []answer{
		status(http.StatusInternalServerError), status(http.StatusInternalServerError), status(http.StatusNotFound),
		lapse, status(http.StatusNoContent), status(http.StatusFound), reset, reset, torn, wait,
	}
	return func(v *visit) answer {
		switch n := v.draw(seed, 1000); {
		case n < 90:
			return failures[n%uint64(len(failures))]
		case n < 93:
			return silence
		case n < 110:
			return ackLater
		case n < 130:
			return after(300*time.Millisecond, done)
		default:
			return done
		}
	}
}

// stubborn fails the first two calls of every tenth message, long enough apart
// that the message goes back to the broker.
func stubborn(seed uint64) func(*visit) answer {
	return func(v *visit) answer {
		first := *v
		first.nth = 0
		if v.nth <= 2 && first.draw(seed, 10) == 0 {
			return status(http.StatusInternalServerError)
		}
		return done
	}
}
