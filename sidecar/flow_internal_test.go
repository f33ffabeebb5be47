package sidecar

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// The rates are those of the last seconds, and come to rest.
func TestFlow(t *testing.T) {
	var f flow
	now, n := time.Unix(0, 0), spool.Counts{}
	pass := func(seconds int, accepted, confirmed uint64) Flow {
		for range seconds {
			now = now.Add(time.Second)
			n.Accepted += accepted
			n.Confirmed += confirmed
			f.observe(now, n)
		}
		return f.tell()
	}
	n.Accepted, n.Confirmed = 1_000_000, 900_000 // before this process
	for _, tt := range []struct {
		name                string
		seconds             int
		accepted, confirmed uint64
		want                Flow
	}{
		{"the first look", 1, 0, 0, Flow{}},
		{"an outage", 60, 100, 0, Flow{Accepted: 100}},
		{"its end", 60, 100, 150, Flow{Accepted: 100, Confirmed: 150}},
		{"nothing moves", 60, 0, 0, Flow{}},
	} {
		if got := pass(tt.seconds, tt.accepted, tt.confirmed); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	if got := pass(5, 100, 0); got.Accepted < 50 || got.Accepted > 90 {
		t.Errorf("after five seconds of 100: %+v", got)
	}
}
