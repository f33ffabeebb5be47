package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func (s *lateSpool) Append(ctx context.Context, drafts []spool.Draft) ([]message.Receipt, error) {
	s.mu.Lock()
	s.got = append(s.got, drafts)
	s.mu.Unlock()
	<-ctx.Done()
	return nil, errors.Join(spool.ErrUnknown, context.Cause(ctx))
}

func TestShutdownFinishesWhatRuns(t *testing.T) {
	l := start(t, httpapi.Options{})
	entered, leave := make(chan struct{}), make(chan struct{})
	l.spool.hold = func(context.Context) error {
		close(entered)
		<-leave
		return nil
	}
	idle, idleReader := l.dial()
	if res := l.roundTrip(idle, idleReader, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n"); res.ends {
		t.Error("a GET ends its connection")
	}
	running, runningReader := l.dial()
	answered := make(chan int, 1)
	go func() {
		answered <- l.roundTrip(running, runningReader, one).status
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- l.server.Shutdown(t.Context()) }()

	if _, err := idleReader.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v, want its end", err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("Shutdown returned %v while a request ran", err)
	default:
	}
	close(leave)
	if code := <-answered; code != 202 {
		t.Errorf("the running request was answered %d", code)
	}
	if _, err := runningReader.ReadByte(); err != io.EOF {
		t.Errorf("the connection of the last request: %v, want its end", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if c, err := net.DialTimeout("tcp", l.addr, time.Second); err == nil {
		c.Close()
		t.Error("a new connection is accepted")
	}
}

func TestShutdownAnswersWaits(t *testing.T) {
	l := start(t, httpapi.Options{})
	c, r := l.dial()
	answered := make(chan int, 1)
	go func() {
		answered <- l.roundTrip(c, r, "POST /v1/topics/orders/messages?wait=60s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx").status
	}()
	eventually(t, "the message is stored", func() bool { return len(l.spool.stored()) > 0 })
	if err := l.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if code := <-answered; code != 202 {
		t.Errorf("a wait that a shutdown ends is answered %d, want 202: it is stored", code)
	}
}

func TestShutdownOutOfTimeAnswersWhoWaitsForTheDisk(t *testing.T) {
	late := &lateSpool{fakeSpool: newFakeSpool()}
	server := httpapi.New(httpapi.Options{}, late)
	ln, err := httpapi.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, one); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the spool has the message", func() bool { return len(late.kept()) > 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), `"code":"draining"`) || !strings.Contains(string(text), `"stored":"unknown"`) {
		t.Errorf("answered %d %s, %v", res.StatusCode, text, err)
	}
}

func TestShutdownCutsWhatDoesNotEnd(t *testing.T) {
	l := start(t, httpapi.Options{})
	running, reader := l.dial()
	entered := make(chan struct{})
	l.spool.hold = func(context.Context) error {
		close(entered)
		_, err := reader.ReadByte() // until the connection is cut
		return err
	}
	if _, err := io.WriteString(running, one); err != nil {
		t.Fatal(err)
	}
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v, want the deadline", err)
	}
	if err := l.server.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
}

func TestDrain(t *testing.T) {
	l := start(t, httpapi.Options{})
	_, path := publishOne(t, l)
	l.server.Drain()
	a := l.do("POST", orders, "x")
	if a.status != 503 || a.code() != "draining" || a.json["stored"] != false {
		t.Errorf("publish while draining: %d %s", a.status, a.raw)
	}
	if a := l.do("GET", path, ""); a.status != 200 {
		t.Errorf("receipt while draining: %d", a.status)
	}
	if a := l.do("GET", "/v1/status", ""); a.json["state"] != "draining" {
		t.Errorf("status: %s", a.raw)
	}
}

func TestServeAfterShutdown(t *testing.T) {
	server := httpapi.New(httpapi.Options{}, newFakeSpool())
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ln, err := httpapi.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(ln); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := ln.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

func TestExposedListenerNeedsAToken(t *testing.T) {
	ln, err := httpapi.Listen("0.0.0.0:0", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := httpapi.New(httpapi.Options{}, newFakeSpool()).Serve(ln); !errors.Is(err, httpapi.ErrExposed) {
		t.Errorf("Serve on 0.0.0.0 without a token: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "remora.sock")
	ln, err := httpapi.Listen("unix://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v (%v), want 0660", info.Mode(), err)
	}
	l := startOn(t, ln, httpapi.Options{PeerUIDs: []uint32{uint32(os.Getuid())}})
	l.addr = path // the listener names the path it was made at
	req := l.request("POST", orders, "x", "Origin", "http://any.example")
	req.Host = "any.example" // no browser reaches a unix socket
	l.accepted(l.send(req, "x"))

	if _, err := httpapi.Listen("unix://"+path, ""); err == nil {
		t.Error("a socket that is served was taken over")
	}
	if err := l.server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestUnixSocketTakesTheStaleOnesPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "remora.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	first, err := httpapi.Listen("unix://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // as if the first had died
		t.Fatal(err)
	}
	second, err := httpapi.Listen("unix://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("closing the first removed its successor's socket: %v", err)
	}
}

func TestUnixSocketLeavesFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := httpapi.Listen("unix://"+path, ""); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "x" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

func TestUnixSocketRefusesOtherUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "remora.sock")
	ln, err := httpapi.Listen("unix://"+path, "")
	if err != nil {
		t.Fatal(err)
	}
	l := startOn(t, ln, httpapi.Options{PeerUIDs: []uint32{uint32(os.Getuid()) + 1}})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answer, err := io.ReadAll(c)
	if err != nil || len(answer) < 12 || string(answer[:12]) != "HTTP/1.1 403" {
		t.Errorf("answered %q, %v", answer, err)
	}
	if len(l.spool.stored()) != 0 {
		t.Error("stored")
	}
}
