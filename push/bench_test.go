package push

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/remora-mq/remora/message"
)

// BenchmarkDeliver makes calls of 1 KiB, one after the other, to a handler that reads
// nothing but their bytes.
func BenchmarkDeliver(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	defer func() { <-served }()
	defer ln.Close()
	c, err := New(Options{URL: "http://" + ln.Addr().String() + "/on-order"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	call := aCall(strings.Repeat("x", 1024))
	call.Delivery.ID, call.Delivery.TopicSeq = message.ID{1, 2, 3}, 7
	req := c.newRequest(call)
	size := len(req.b)
	req.free()
	go func() {
		defer close(served)
		cn, err := ln.Accept()
		if err != nil {
			return
		}
		defer cn.Close()
		for buf := make([]byte, size); ; {
			if _, err := io.ReadFull(cn, buf); err != nil {
				return
			}
			if _, err := io.WriteString(cn, ok); err != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		if a := c.Deliver(b.Context(), call); a.Disposition != Done {
			b.Fatal(a.Err)
		}
	}
}
