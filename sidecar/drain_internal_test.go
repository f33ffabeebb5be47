package sidecar

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// totals of a spool with so many settled and held messages of 10 bytes.
func totals(settled, held uint64) spool.Counts {
	return spool.Counts{Accepted: settled + held, Confirmed: settled, Bytes: 10 * held, InSpool: spool.InSpool{Pending: held}}
}

func TestDrainIsMeasured(t *testing.T) {
	var d drainMeter
	now := time.Unix(0, 0)
	if d.untilRoom() != 0 {
		t.Error("something is known before anything was seen")
	}
	const limit = 10_000 // bytes: 1,000 messages
	for second := range uint64(60) {
		d.observe(now.Add(time.Duration(second)*time.Second), totals(second*20, 1000), limit)
	}
	// 100 messages above the mark, 20 a second.
	if got := d.untilRoom().Round(100 * time.Millisecond); got != 5*time.Second {
		t.Errorf("%v, want 5s", got)
	}
	for second := range uint64(60) {
		d.observe(now.Add(time.Duration(60+second)*time.Second), totals(59*20, 1000), limit)
	}
	if got := d.untilRoom(); got != 0 {
		t.Errorf("%v although nothing leaves, want unknown", got)
	}
}
