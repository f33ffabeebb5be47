package ackgate

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/remora-mq/remora/message"
)

// What happens to an order has one key and many contents. Each is handled once,
// however often and in whatever order the broker delivers it again.
func TestManyContentsOfAKeyAreHandledOnce(t *testing.T) {
	h := newHouse(t, func(http.ResponseWriter, *http.Request) {})
	h.key = KeyRule{property: "order_id"}
	const events = 7
	event := func(n int) *message.Delivery {
		d := delivery(fmt.Sprint("event-", n))
		d.Properties = []message.Property{{Name: "order_id", Value: "77"}}
		return d
	}
	for n := range events {
		if acked := h.live(t.Context(), event(n)); !acked || h.calls() != n+1 {
			t.Fatalf("event %d: acked %v, %d calls", n, acked, h.calls())
		}
	}
	for n := range events {
		if acked := h.live(t.Context(), event(n)); !acked || h.calls() != events {
			t.Fatalf("event %d again: acked %v, %d calls of %d", n, acked, h.calls(), events)
		}
	}
}
