package push

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestAnswerTable has every row of the table of the HTTP contract.
func TestAnswerTable(t *testing.T) {
	status := func(line string, headers ...string) reply {
		return text("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n")
	}
	then := func(s string, end func(c *net.TCPConn)) reply {
		return func(c *net.TCPConn, _ *http.Request) bool {
			_, _ = io.WriteString(c, s)
			end(c)
			return false
		}
	}
	reset := func(c *net.TCPConn) { _ = c.SetLinger(0) }
	closed := func(*net.TCPConn) {}
	large := func(framing string, n int) reply {
		return then("HTTP/1.1 200 OK\r\n"+framing+"\r\n\r\n", func(c *net.TCPConn) {
			chunk := make([]byte, 64<<10)
			for range n / len(chunk) {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		})
	}
	tests := []struct {
		name   string
		answer reply
		want   Disposition
		code   string
	}{
		{"200", text(ok), Done, "200"},
		{"200 with an empty body", status("200 OK"), Done, "200"},
		{"200 chunked", text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), Done, "200"},
		{"200 chunked with a trailer", text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n"), Done, "200"},
		{"200 ended by the close", then("HTTP/1.1 200 OK\r\n\r\nok", closed), Done, "200"},
		{"200 of HTTP/1.0", then("HTTP/1.0 200 OK\r\n\r\nok", closed), Done, "200"},
		{"200 after interim answers", text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok), Done, "200"},
		{"200 with 100 MiB", large("Content-Length: 104857600", 100<<20), Done, "200"},
		{"200 with 100 MiB, chunked, first chunk never ends", large("Transfer-Encoding: chunked\r\n\r\n6400000", 100<<20), Done, "200"},
		{"200 with 100 MiB until close", large("Connection: close", 100<<20), Done, "200"},

		{"200, then a reset before the body", then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", reset), Retry, "broken"},
		{"200, then a close inside the body", then("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", closed), Retry, "broken"},
		{"200, then a close inside the header", then("HTTP/1.1 200 OK\r\nContent-Le", closed), Retry, "broken"},
		{"200 chunked, last chunk missing", then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", closed), Retry, "broken"},
		{"200 chunked, end of trailer missing", then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", closed), Retry, "broken"},
		{"200 until close, then a reset", func(c *net.TCPConn, _ *http.Request) bool {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nok")
			time.Sleep(20 * time.Millisecond) // or the reset overtakes the answer
			_ = c.SetLinger(0)
			return false
		}, Retry, "broken"},
		{"close without an answer", then("", closed), Retry, "broken"},
		{"reset without an answer", then("", reset), Retry, "broken"},
		{"not HTTP", then("SSH-2.0-OpenSSH_9\r\n\r\n", closed), Retry, "broken"},
		{"two lengths", text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"), Retry, "broken"},
		{"endless header", then("HTTP/1.1 200 OK\r\nA: "+strings.Repeat("a", 1<<20), closed), Retry, "broken"},
		{"large header", status("200 OK", "A: "+strings.Repeat("a", 300<<10)), Done, "200"},

		{"201", status("201 Created"), Retry, "201"},
		{"202 is a lease, not an ack", status("202 Accepted"), Leased, "202"},
		{"202 with MQ-Lease", status("202 Accepted", "MQ-Lease: 5m"), Leased, "202"},
		{"202 with MQ-Disposition", status("202 Accepted", "MQ-Disposition: dead-letter"), DeadLetter, "202"},
		{"202 broken off", then("HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n", closed), Retry, "broken"},
		{"204 is not an ack", text("HTTP/1.1 204 No Content\r\n\r\n"), Retry, "204"},
		{"429 with Retry-After", status("429 Too Many Requests", "Retry-After: 7"), Wait, "429"},
		{"503 with Retry-After", status("503 Busy", "Retry-After: 7"), Wait, "503"},
		{"503 with a broken Retry-After", status("503 Busy", "Retry-After: soon"), Retry, "503"},
		{"503", status("503 Busy"), Retry, "503"},
		{"500 with Retry-After", status("500 Error", "Retry-After: 7"), Retry, "500"},
		{"422", status("422 Unprocessable"), DeadLetter, "422"},
		{"500 with MQ-Disposition", status("500 Error", "MQ-Disposition: dead-letter"), DeadLetter, "500"},
		{"header names in another case", status("500 Error", "mq-disposition: Dead-Letter"), DeadLetter, "500"},
		{"500 with another MQ-Disposition", status("500 Error", "MQ-Disposition: later"), Retry, "500"},
		{"422 broken off", then("HTTP/1.1 422 No\r\nContent-Length: 9\r\n\r\n", closed), Retry, "broken"},
		{"400", status("400 Bad"), Retry, "400"},
		{"404", status("404 Not Found"), Retry, "404"},
		{"405", status("405 No"), Retry, "405"},
		{"500", status("500 Error"), Retry, "500"},
		{"302 is not followed", status("302 Found", "Location: http://169.254.169.254/"), Retry, "302"},
		{"101", status("101 Switching"), Retry, "101"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := serve(t, tt.answer)
			got := newClient(t, Options{URL: h.url()}).Deliver(within(t, time.Minute), aCall("x"))
			if got.Disposition != tt.want || got.Code() != tt.code {
				t.Errorf("got %v, code %s, %v; want %v, code %s", got.Disposition, got.Code(), got.Err, tt.want, tt.code)
			}
			if (got.Err == nil) != (tt.want == Done || tt.want == Leased) {
				t.Errorf("error %v with %v", got.Err, got.Disposition)
			}
			if n := h.calls.Load(); n != 1 {
				t.Errorf("the handler was called %d times", n)
			}
		})
	}
}

func TestLeaseHeader(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond,
		"5": 0, "0s": 0, "-1m": 0, "soon": 0,
	} {
		t.Run(text, func(t *testing.T) {
			h := serve(t, func(c *net.TCPConn, _ *http.Request) bool {
				_, _ = fmt.Fprintf(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nMQ-Lease: %s\r\n\r\n", text)
				return true
			})
			got := newClient(t, Options{URL: h.url()}).Deliver(within(t, time.Minute), aCall("x"))
			if got.Disposition != Leased || got.Lease != want {
				t.Errorf("%v for %v, want a lease for %v", got.Disposition, got.Lease, want)
			}
			if unread := want == 0 && strings.TrimSpace(text) != ""; (got.Err != nil) != unread {
				t.Errorf("said %v", got.Err)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	drip := func(s string) reply {
		return func(c *net.TCPConn, _ *http.Request) bool {
			for i := range len(s) {
				if _, err := io.WriteString(c, s[i:i+1]); err != nil {
					return false
				}
				time.Sleep(10 * time.Millisecond)
			}
			_, _ = io.Copy(io.Discard, c)
			return false
		}
	}
	tests := map[string]reply{
		"silent handler": drip(""),
		"dripped header": drip("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: " + strings.Repeat("a", 1000)),
		"dripped body":   drip("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("a", 999)),
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			h := serve(t, answer)
			got := newClient(t, Options{URL: h.url()}).Deliver(within(t, 200*time.Millisecond), aCall("x"))
			if got.Disposition != Retry || got.Code() != "timeout" {
				t.Errorf("got %v, %s, %v", got.Disposition, got.Code(), got.Err)
			}
		})
	}
}

func TestAckStatuses(t *testing.T) {
	h := serve(t, text("HTTP/1.1 204 No Content\r\n\r\n"))
	got := newClient(t, Options{URL: h.url(), AckStatuses: []int{200, 204}}).Deliver(within(t, time.Minute), aCall("x"))
	if got.Disposition != Done {
		t.Errorf("204 in ack_statuses: %v, %v", got.Disposition, got.Err)
	}
	for _, status := range []int{202, 199, 302, 500} {
		if _, err := New(Options{URL: h.url(), AckStatuses: []int{200, status}}); err == nil {
			t.Errorf("ack status %d was taken", status)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true}, {" 120 ", 2 * time.Minute, true},
		{"Fri, 02 Jan 2026 03:05:05 GMT", time.Minute, true},
		{"Fri, 02 Jan 2026 03:00:00 GMT", 0, true},
		{"99999999999999999999", 365 * 24 * time.Hour, true}, {"9000000000000000000", 365 * 24 * time.Hour, true},
		{"-1", 0, false}, {"-99999999999999999999", 0, false}, {"99999999999999999999s", 0, false}, {"", 0, false}, {"1.5", 0, false}, {"soon", 0, false},
	}
	for _, tt := range tests {
		if got, ok := parseRetryAfter(tt.text, now); got != tt.want || ok != tt.ok {
			t.Errorf("Retry-After %q: %v, %v; want %v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}

func TestAdviceIsGiven(t *testing.T) {
	for status, word := range map[int]string{201: "200", 204: "ack_statuses", 302: "URL"} {
		h := serve(t, text(fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status)))
		got := newClient(t, Options{URL: h.url()}).Deliver(within(t, time.Minute), aCall("x"))
		if got.Err == nil || !strings.Contains(got.Err.Error(), word) {
			t.Errorf("%d: %v does not say %q", status, got.Err, word)
		}
	}
}
