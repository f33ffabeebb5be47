package push

import (
	"bufio"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestQuickOKReadsTheUsualAnswers(t *testing.T) {
	for name, header := range map[string]string{
		"fasthttp": "HTTP/1.1 200 OK\r\nServer: fasthttp\r\nDate: Fri, 27 Nov 2026 11:00:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\n",
		"net/http": "HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 11:00:00 GMT\r\nContent-Length: 2\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
		"short":    "HTTP/1.1 200 \r\ncontent-length:2\r\n\r\n",
	} {
		if h, body, ok := quickOK([]byte(header + "ok")); !ok || h != len(header) || body != 2 {
			t.Errorf("%s: header of %d bytes, body of %d, %v", name, h, body, ok)
		}
	}
}

// FuzzQuickOK holds what quickOK makes of an answer against the whole parser.
func FuzzQuickOK(f *testing.F) {
	for _, s := range []string{
		ok,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nmq-disposition: dead-letter\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: b\r\n c\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\n\r\nok",
		"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		header, body, ok := quickOK([]byte(answer))
		if !ok {
			return
		}
		var h fasthttp.ResponseHeader
		br := bufio.NewReaderSize(strings.NewReader(answer), 1<<20)
		if err := h.Read(br); err != nil {
			t.Fatalf("%q is no answer: %v", answer, err)
		}
		if h.StatusCode() != 200 || h.ContentLength() != body || h.ConnectionClose() || len(h.Peek("MQ-Disposition")) > 0 || br.Buffered() != len(answer)-header {
			t.Errorf("%q: a header of %d bytes, a body of %d; the parser says %d, %d, closes %v", answer, header, body,
				len(answer)-br.Buffered(), h.ContentLength(), h.ConnectionClose())
		}
	})
}
