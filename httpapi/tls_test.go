package httpapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
)

// A client that speaks TLS is told so at once, also where nothing of what it sends is the
// end of a line.
func TestTLSIsRefusedAtOnce(t *testing.T) {
	h := start(t, httpapi.Options{ReadTimeout: time.Hour})
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(nc, "\x16\x03\x01\x00\x04\x01\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "http://") || !res.Close {
		t.Errorf("%d %s %v", res.StatusCode, body, err)
	}
}
