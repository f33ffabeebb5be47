package rocketmq

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// maxQuestion bounds what the library asks: a topic's name, and its signature.
	maxQuestion = 64 << 10 // bytes
	// relayIdle is above the 30 s after which the library asks again.
	relayIdle = 2 * time.Minute
	// relayConns bounds the connections of a relay. The library has one; while it
	// connects anew, one more.
	relayConns  = 16
	acceptPause = 100 * time.Millisecond
)

// relay is the name server that the library is told: a port of the loopback device, at
// which it is answered what nameServers find. By itself the library asks one after the
// other, in turn, for up to 6 s each, under one lock for all topics (internal/route.go:123,
// 402-413), and believes the first that knows nothing: one that hangs would stop it at
// every second question, and one that was just restarted would end a consumer's start.
type relay struct {
	names    nameServers
	listener net.Listener    // nil: there is no port
	ctx      context.Context // of all its goroutines
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]time.Time // since when each is silent; zero: it is being answered
}

// newRelay's caller owes a close.
func newRelay(names nameServers, log *slog.Logger) *relay {
	r := &relay{names: names, conns: map[net.Conn]time.Time{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Warn("the client library asks the name servers itself: one that hangs will delay it", "error", err)
		return r
	}
	r.listener = l
	r.running.Go(r.accept)
	return r
}

// addrs are what to tell the library: without a port, the name servers themselves.
func (r *relay) addrs() []string {
	if r.listener == nil {
		return libraryAddrs(r.names.addrs)
	}
	return libraryAddrs([]string{r.listener.Addr().String()})
}

// close closes all connections.
func (r *relay) close() {
	r.stop()
	if r.listener != nil {
		_ = r.listener.Close() // nobody else does
	}
	r.running.Wait()
}

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		switch {
		case err == nil:
			if r.admit(conn) {
				r.running.Go(func() { r.serve(conn) })
			} else {
				discard(conn)
			}
			continue
		case r.ctx.Err() != nil:
			return
		}
		select { // too many files are open
		case <-time.After(acceptPause):
		case <-r.ctx.Done():
			return
		}
	}
}

// admit takes a connection in. Where there are as many as may be the one that has been
// silent longest is closed: the library connects anew. false: all are being answered.
func (r *relay) admit(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.conns) >= relayConns {
		var silent net.Conn
		for c, since := range r.conns {
			if !since.IsZero() && (silent == nil || since.Before(r.conns[silent])) {
				silent = c
			}
		}
		if silent == nil {
			return false
		}
		discard(silent)
		delete(r.conns, silent)
	}
	r.conns[conn] = time.Now()
	return true
}

// turn notes since when a connection is silent; zero: it is being answered. false: it is
// closed.
func (r *relay) turn(conn net.Conn, since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, is := r.conns[conn]; !is {
		return false
	}
	r.conns[conn] = since
	return true
}

func (r *relay) leave(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, conn)
}

// serve answers one question of a connection after the other: the library has one at a
// time.
func (r *relay) serve(conn net.Conn) {
	defer discard(conn)
	defer r.leave(conn)
	defer context.AfterFunc(r.ctx, func() { discard(conn) })()
	for conn.SetReadDeadline(time.Now().Add(relayIdle)) == nil {
		question, err := readFrameUpTo(conn, maxQuestion)
		if err != nil || !r.turn(conn, time.Time{}) {
			return
		}
		answer := r.answer(question)
		answer.Opaque, answer.Flag = question.Opaque, flagAnswer
		frame, err := encodeFrame(answer)
		if err == nil {
			err = conn.SetWriteDeadline(time.Now().Add(callTimeout))
		}
		if err == nil {
			_, err = conn.Write(frame)
		}
		if err != nil || !r.turn(conn, time.Now()) {
			return
		}
	}
}

func (r *relay) answer(question command) command {
	if question.Code != reqRoute {
		return refusal(codeNotSupported, "only routes are told here")
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	body, _, err := r.names.find(ctx, question.ExtFields["topic"])
	switch {
	case errors.Is(err, errTopicNotExist):
		return refusal(codeTopicNotExist, err.Error())
	case err != nil:
		return refusal(codeSystemError, err.Error())
	}
	return newCommand(codeSuccess, nil, body)
}

func refusal(code int, remark string) command {
	c := newCommand(code, nil, nil)
	c.Remark = remark
	return c
}
