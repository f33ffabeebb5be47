package peer

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// step is what a server expects to be sent, and what it says to that.
type step struct{ want, say string }

// script plays a server that follows the steps and then hangs up. Anything else
// that it is sent fails the test.
func script(t *testing.T, steps ...step) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	if err := near.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		for i, s := range steps {
			got := make([]byte, len(s.want))
			n, err := io.ReadFull(far, got)
			if string(got) != s.want {
				t.Errorf("step %d: was sent %q (%v), want %q", i, got[:n], err, s.want)
				return
			}
			if s.say == "" {
				continue // a pipe waits for somebody who reads nothing
			}
			if _, err := io.WriteString(far, s.say); err != nil {
				return // the client has seen enough
			}
		}
	}()
	t.Cleanup(func() {
		near.Close()
		<-done
	})
	return near
}

// failsWith compares an error with a part of its text; empty: there is none.
func failsWith(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
