package peer

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	tests := []struct{ name, reply, fail string }{
		{"status", "+PONG\r\n", ""},
		{"number", ":7\r\n", ""},
		{"string", "$5\r\na\r\nbc\r\n", ""},
		{"empty string", "$0\r\n\r\n", ""},
		{"error", "-OOM command not allowed\r\n", "OOM command not allowed"},
		{"nothing stored", "$-1\r\n", "length"},
		{"string of another length", "$2\r\nabc\r\n", "ends in"},
		{"cut off", "$5\r\nab", "EOF"},
		{"no end", "$2\r\nab", "EOF"},
		{"no line", "+PONG", "EOF"},
		{"no carriage return", "+PONG\n", "not a reply"},
		{"array", "*1\r\n", "not a reply"},
		{"empty", "\r\n", "not a reply"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tt.reply))
			err := readReply(r)
			if (err == nil) != (tt.fail == "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("got %v, want %q", err, tt.fail)
			}
			if strings.HasPrefix(tt.reply, "-") && err.Error() != tt.fail {
				t.Errorf("got %v, want the server's own words", err)
			}
			if err == nil && r.Buffered() > 0 {
				t.Errorf("%d bytes are left", r.Buffered())
			}
		})
	}
}

func TestAppendCommand(t *testing.T) {
	const want = "*2\r\n$3\r\nDEL\r\n$2\r\n\r\n\r\n"
	if got := appendCommand(nil, "DEL", "\r\n"); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSendAppendsToTheStream(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := &respClient{Conn: near, answers: bufio.NewReader(near)}
	defer c.Close()
	want := appendCommand(nil, "XADD", "bench", "*", "b", "body")
	got := make([]byte, len(want))
	go func() {
		_, _ = io.ReadFull(far, got)
		_, _ = io.WriteString(far, "$3\r\n1-0\r\n")
	}()
	if err := c.Send([]byte("body")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("sent %q, want %q; %v", got, want, err)
	}
}
