package peer

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// door is a handler that remembers what it was sent.
type door struct {
	status int
	keys   map[string]bool
	bodies [][]byte
	path   string
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.keys[r.Header.Get("Idempotency-Key")] = true
	d.bodies = append(d.bodies, body)
	d.path = r.URL.Path
	w.WriteHeader(d.status)
	_, _ = io.WriteString(w, "said")
}

func dialDoor(t *testing.T, d *door, tally *tally) *Publisher {
	t.Helper()
	d.keys = map[string]bool{}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	p, err := dialHTTP(t.Context(), strings.TrimPrefix(server.URL, "http://"), tally)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEachMessageHasItsOwnKey(t *testing.T) {
	var total tally
	d := &door{status: 202}
	p := dialDoor(t, d, &total)
	want := [][]byte{[]byte("one1"), []byte("two2"), []byte("tre3")}
	for _, body := range want {
		if err := p.Send(body); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.keys) != 3 || d.keys[""] || d.path != "/v1/topics/bench/messages" {
		t.Errorf("keys %v, path %s", d.keys, d.path)
	}
	if !bytes.Equal(bytes.Join(d.bodies, nil), bytes.Join(want, nil)) {
		t.Errorf("bodies %q, want %q", d.bodies, want)
	}
	if err := p.Close(); err != nil || total.sent.Load() != 3 || total.taken.Load() != 3 {
		t.Errorf("tally %d of %d, %v", total.taken.Load(), total.sent.Load(), err)
	}
}

func TestOnlyAcceptedCounts(t *testing.T) {
	var total tally
	p := dialDoor(t, &door{status: 200}, &total)
	if err := p.Send([]byte("body")); err == nil || !strings.Contains(err.Error(), "200: said") {
		t.Errorf("got %v", err)
	}
	if err := p.Close(); err != nil || total.sent.Load() != 1 || total.taken.Load() != 0 {
		t.Errorf("tally %d of %d, %v", total.taken.Load(), total.sent.Load(), err)
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := dialHTTP(t.Context(), ln.Addr().String(), new(tally)); err == nil {
		t.Error("no error")
	}
}

// TestInterruptedSendCountsAsSent closes while a message is under way, from
// another goroutine, as the end of a run does.
func TestInterruptedSendCountsAsSent(t *testing.T) {
	var total tally
	near, far := net.Pipe()
	defer far.Close()
	p := &Publisher{Conn: near, sums: &total}
	ended := make(chan error)
	go func() { ended <- p.Send([]byte("body")) }()
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil || total.sent.Load() != 1 || total.taken.Load() != 0 {
		t.Errorf("tally %d of %d, %v", total.taken.Load(), total.sent.Load(), err)
	}
	if err := <-ended; err == nil {
		t.Error("a send that was cut off was taken")
	}
}
