package admin

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/internal/problem"
)

// TestTLSIsRefusedAtOnce: a client that speaks TLS is told so at its first byte, also where
// nothing of what it sends is the end of a line, or where it sends more than is read.
func TestTLSIsRefusedAtOnce(t *testing.T) {
	for name, s := range map[string]*Server{
		"admin":  newServer(http.NotFoundHandler(), newConns(2), nil),
		"health": NewHealth(NewConditions(), prometheus.NewRegistry(), nil),
	} {
		s.http.ReadHeaderTimeout, s.http.ReadTimeout = time.Hour, time.Hour
		addr := serve(t, s)
		for _, hello := range []string{"\x16", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", "\x16\x03\x01\x00\n\x01" + strings.Repeat("\x00", 256<<10)} {
			nc := dial(t, addr)
			if _, err := io.WriteString(nc, hello); err != nil {
				t.Fatal(err)
			}
			a, err := answered(nc)
			if err != nil || a.status != http.StatusBadRequest || a.header.Get("Content-Type") != problem.ContentType || !strings.Contains(a.body, "http://") {
				t.Errorf("%s, %d bytes: %d %s %v", name, len(hello), a.status, a.body, err)
			}
			if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // no reset: it may come before the answer is read
				t.Errorf("%s, %d bytes: the connection ends with %v", name, len(hello), err)
			}
		}
	}
}

// TestTLSIsNoLaterByte: only what a connection begins with is taken for it.
func TestTLSIsNoLaterByte(t *testing.T) {
	nc := dial(t, serve(t, NewHealth(NewConditions(), prometheus.NewRegistry(), nil)))
	exchange(t, nc, "GET /livez")
	if _, err := io.WriteString(nc, "\x16\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if a, err := answered(nc); err != nil || a.status != http.StatusBadRequest || strings.Contains(a.body, "TLS") {
		t.Errorf("%d %s %v", a.status, a.body, err)
	}
}
