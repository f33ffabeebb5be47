package httpapi_test

import (
	"bufio"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/httpapi"
)

const receiveRequest = "POST " + receive + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n" + `{"wait":"20s"}`

// soon returns what c brings, or fails.
func soon[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatalf("%s: not in a minute", what)
	}
	return v
}

// A wait ends with the connection of who waits, and what was leased to it by then
// goes back.
func TestReceiveEndsWhenTheCallerHangsUp(t *testing.T) {
	for name, addr := range map[string]string{"TCP": "127.0.0.1:0", "unix": "unix://" + filepath.Join(t.TempDir(), "s")} {
		for how, leave := range map[string]func(c net.Conn) error{
			"closed":    net.Conn.Close,
			"half":      func(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() },
			"pipelined": func(c net.Conn) error { _, _ = c.Write([]byte(receiveRequest)); return c.Close() },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				ln, err := httpapi.Listen(addr, "")
				if err != nil {
					t.Fatal(err)
				}
				f := &fakeDeliveries{waits: make(chan struct{}), takenBack: make(chan string, 2)}
				f.pulled = []ackgate.Pulled{pulledFull(), pulledBare()}
				startOn(t, ln, httpapi.Options{Deliveries: f})
				c, err := net.Dial(ln.Addr().Network(), strings.TrimSuffix(ln.Addr().String(), "~")) // renamed into place
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write([]byte(receiveRequest)); err != nil {
					t.Fatal(err)
				}
				soon(t, "the wait", f.waits)
				if err := leave(c); err != nil {
					t.Fatal(err)
				}
				ids := soon(t, "what was leased goes back", f.takenBack) + soon(t, "and the other", f.takenBack)
				if ids != "d-1d-2" {
					t.Errorf("taken back: %s", ids)
				}
			})
		}
	}
}

// A caller that waits goes on with its connection afterwards.
func TestConnectionGoesOnAfterAReceive(t *testing.T) {
	l, f := startDeliveries(t)
	f.pulled = []ackgate.Pulled{pulledFull()}
	c, r := l.dial()
	for range 3 {
		if a := l.roundTrip(c, r, receiveRequest); a.status != 200 {
			t.Fatalf("answered %d", a.status)
		}
		waitParked(t, l, 1)
	}
	if len(f.said) != 3 {
		t.Errorf("told %v", f.said)
	}
}

// The answer is on its way, and the caller has read a part of it when it goes.
func TestAnswerThatDoesNotArriveIsTakenBack(t *testing.T) {
	f := &fakeDeliveries{takenBack: make(chan string, 1)}
	one := pulledFull()
	one.Delivery.Body = make([]byte, 48<<20)
	f.pulled = []ackgate.Pulled{one}
	l := start(t, httpapi.Options{Deliveries: f})
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, receiveRequest)
	if _, err := bufio.NewReader(c).ReadByte(); err != nil {
		t.Fatal(err)
	}
	if len(f.takenBack) > 0 {
		t.Error("taken back while the caller reads")
	}
	_ = c.Close()
	if id := soon(t, "it goes back", f.takenBack); id != "d-1" {
		t.Errorf("taken back: %s", id)
	}
}
