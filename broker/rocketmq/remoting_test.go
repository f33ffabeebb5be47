package rocketmq

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// fakeServer answers remoting calls as a test wants; nil is no answer.
type fakeServer struct {
	addr string

	mu    sync.Mutex
	calls []command
	conns int
}

func serve(t *testing.T, answer func(command) *command) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{addr: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.talk(t.Context(), conn, answer) })
		}
	})
	return s
}

func (s *fakeServer) talk(ctx context.Context, conn net.Conn, answer func(command) *command) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s.mu.Lock()
	s.conns++
	s.mu.Unlock()
	for {
		c, err := readFrame(conn)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.calls = append(s.calls, c)
		s.mu.Unlock()
		// Brokers send requests of their own between the answers.
		notify, _ := encodeFrame(command{Code: 40, Opaque: 99})
		conn.Write(notify)
		if a := answer(c); a != nil {
			a.Opaque, a.Flag = c.Opaque+a.Opaque, flagAnswer
			frame, _ := encodeFrame(*a)
			conn.Write(frame)
		}
	}
}

func (s *fakeServer) seen() (calls []command, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, s.conns
}

func TestCallsShareAConnection(t *testing.T) {
	s := serve(t, func(c command) *command { return &command{Remark: c.ExtFields["a"]} })
	r := newRemoting(nil)
	defer r.close()
	for _, want := range []string{"1", "2", "3"} {
		got, err := r.call(t.Context(), s.addr, newCommand(7, map[string]string{"a": want}, nil))
		if err != nil || got.Remark != want {
			t.Errorf("got %+v (%v), want %s", got, err, want)
		}
	}
	if _, conns := s.seen(); conns != 1 {
		t.Errorf("%d connections", conns)
	}
}

func TestCallErrors(t *testing.T) {
	refused := serve(t, func(command) *command { return &command{Code: 16, Remark: "read only"} })
	wrong := serve(t, func(command) *command { return &command{Opaque: 5} })
	waiting, giveUp := context.WithCancel(t.Context())
	silent := serve(t, func(command) *command { giveUp(); return nil })
	r := newRemoting(nil)
	defer r.close()
	call := func(addr string, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := r.call(ctx, addr, newCommand(7, nil, nil))
		return err
	}
	if err := call(refused.addr, time.Minute); !errors.As(err, new(*responseError)) || certainlyNotSent(err) {
		t.Errorf("refused: %v", err)
	}
	if err := call(wrong.addr, time.Minute); err == nil || certainlyNotSent(err) {
		t.Errorf("answer to another request: %v", err)
	}
	if _, err := r.call(waiting, silent.addr, newCommand(7, nil, nil)); err == nil || certainlyNotSent(err) {
		t.Errorf("no answer: %v", err)
	}
	if err := call("127.0.0.1:1", time.Minute); !certainlyNotSent(err) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := call(refused.addr, -1); !certainlyNotSent(err) {
		t.Errorf("done context: %v", err)
	}
}

// An abandoned call's connection is not used again: its answer may still come.
func TestConnectionOfAbandonedCallIsClosed(t *testing.T) {
	first := true
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	s := serve(t, func(command) *command {
		mu.Lock()
		defer mu.Unlock()
		if first {
			first = false
			cancel()
			return nil
		}
		return &command{}
	})
	r := newRemoting(nil)
	defer r.close()
	if _, err := r.call(ctx, s.addr, newCommand(7, nil, nil)); err == nil {
		t.Fatal("no error")
	}
	if _, err := r.call(t.Context(), s.addr, newCommand(7, nil, nil)); err != nil {
		t.Error(err)
	}
	if _, conns := s.seen(); conns != 2 {
		t.Errorf("%d connections", conns)
	}
}

func TestSign(t *testing.T) {
	fields := map[string]string{"topic": "t", "a": "1"}
	c := newCommand(7, fields, []byte("body"))
	Keys{"key", "secret"}.sign(&c)
	mac := hmac.New(sha1.New, []byte("secret"))
	mac.Write([]byte("key" + "1" + "t" + "body")) // AccessKey, a, topic, body
	want := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if c.ExtFields["Signature"] != want || c.ExtFields["AccessKey"] != "key" || len(c.ExtFields) != 4 {
		t.Errorf("fields %v, want signature %s", c.ExtFields, want)
	}
	if len(fields) != 2 {
		t.Errorf("the caller's fields were changed: %v", fields)
	}
	plain := newCommand(7, nil, nil)
	Keys{}.sign(&plain)
	if plain.ExtFields != nil {
		t.Errorf("signed without keys: %v", plain.ExtFields)
	}
}
