package peer

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const accepted = "HTTP/1.1 202 Accepted\r\nX: y\r\ncontent-length:  7\r\nLocation: /v1/messages/A\r\n\r\n{\"id\":1"

func TestReadResponse(t *testing.T) {
	tests := []struct {
		name, answer  string
		status        int
		content, fail string
	}{
		{"accepted", accepted, 202, `{"id":1`, ""},
		{"no content", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, "", ""},
		{"head without phrase", "HTTP/1.1 202\r\nContent-Length: 1\r\n\r\nx", 202, "x", ""},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, "", "it has none"},
		{"other protocol", "SSH-2.0-OpenSSH\r\n\r\n", 0, "", "not an HTTP/1.1 answer"},
		{"status is no number", "HTTP/1.1 2x2 OK\r\nContent-Length: 0\r\n\r\n", 0, "", "not an HTTP/1.1 answer"},
		{"length is no number", "HTTP/1.1 202 OK\r\nContent-Length: -1\r\n\r\n", 0, "", "not an HTTP/1.1 answer"},
		{"ends in its head", accepted[:30], 0, "", "EOF"},
		{"ends in its content", accepted[:len(accepted)-1], 0, "", "EOF"},
		{"two at once", accepted + "H", 0, "", "1 bytes follow"},
		{"too long", "HTTP/1.1 202 OK\r\nContent-Length: 99999\r\n\r\n" + strings.Repeat("x", 99999), 0, "", "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, content, err := new(response).read(strings.NewReader(tt.answer))
			if fmt.Sprint(err) != "<nil>" && (tt.fail == "" || !strings.Contains(err.Error(), tt.fail)) {
				t.Fatalf("got %v, want %q", err, tt.fail)
			}
			if (err == nil) != (tt.fail == "") || status != tt.status || string(content) != tt.content {
				t.Errorf("got %d %q %v, want %d %q %q", status, content, err, tt.status, tt.content, tt.fail)
			}
		})
	}
}

func TestReadResponseInPieces(t *testing.T) {
	for name, r := range map[string]io.Reader{
		"bytes":          iotest.OneByteReader(strings.NewReader(accepted)),
		"end with error": iotest.DataErrReader(strings.NewReader(accepted)),
	} {
		status, content, err := new(response).read(r)
		if status != 202 || string(content) != `{"id":1` || err != nil {
			t.Errorf("%s: got %d %q %v", name, status, content, err)
		}
	}
}

func TestReaderIsUsedAgain(t *testing.T) {
	var r response
	for _, answer := range []string{accepted, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"} {
		if _, _, err := r.read(strings.NewReader(answer)); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte(strings.TrimSuffix(accepted, `{"id":1`)))
	f.Add([]byte("HTTP/1.1 200\r\nContent-Length:"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if status, length, err := parseHead(head); err == nil && (status < -99 || length < 0) {
			t.Errorf("%q: status %d, length %d", head, status, length)
		}
	})
}
