package sidecar

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// totals of a spool, or topic, with so many settled and held messages of 10 bytes.
func totals(settled, held uint64) spool.Counts {
	return spool.Counts{Accepted: settled + held, Confirmed: settled, Bytes: 10 * held, InSpool: spool.InSpool{Pending: held}}
}

// watched is a meter that has seen a minute of n messages a second leaving, of
// 1,000 that are held all the time, of which a quarter are of one topic.
func watched(n uint64, l levels) *drainMeter {
	var d drainMeter
	for second := range uint64(60) {
		led := spool.Ledger{Total: totals(second*n, 1000), Topics: map[string]spool.Counts{"t": totals(second*n/4, 250), "small": totals(0, 1)}}
		d.observe(time.Unix(int64(second), 0), led, l)
	}
	return &d
}

func TestDrainIsMeasured(t *testing.T) {
	l := levels{share: 2600, excess: 1000, lack: 4000}
	for _, tt := range []struct {
		name, code, topic string
		meter             *drainMeter
		want              time.Duration
	}{
		{"nothing was seen", problem.SpoolFull, "", &drainMeter{}, 0},
		{"100 messages above the mark, 20 a second", problem.SpoolFull, "", watched(20, l), 5 * time.Second},
		{"nothing leaves", problem.SpoolFull, "", watched(0, l), 0},
		{"400 messages have to leave the volume", problem.DiskLow, "", watched(20, l), 20 * time.Second},
		{"more is missing than the spool holds", problem.DiskLow, "", watched(20, levels{lack: 20_000}), 0},
		{"16 messages above 90 % of the share, 5 a second", problem.TopicFull, "t", watched(20, l), 3200 * time.Millisecond},
		{"a topic far below its share", problem.TopicFull, "small", watched(20, l), 0},
		{"at once is a second", problem.SpoolFull, "", watched(20, levels{}), time.Second},
		{"what no drain ends", problem.Busy, "", watched(20, l), 0},
	} {
		if got := tt.meter.untilRoom(tt.code, tt.topic).Round(100 * time.Millisecond); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestTimeToDrainIsMeasured: it is told at the rate of the last seconds, and not at all
// while nothing leaves.
func TestTimeToDrainIsMeasured(t *testing.T) {
	for _, tt := range []struct {
		name    string
		meter   *drainMeter
		waiting uint64
		want    time.Duration
		known   bool
	}{
		{"nothing waits", &drainMeter{}, 0, 0, true},
		{"nothing was seen", &drainMeter{}, 1, 0, false},
		{"nothing leaves", watched(0, levels{}), 1000, 0, false},
		{"20 a second", watched(20, levels{}), 1000, 50 * time.Second, true},
		{"a million of them, 20 a second", watched(20, levels{}), 1_000_000, 50_000 * time.Second, true},
	} {
		got, known := tt.meter.untilLeft(tt.waiting)
		if off := (got - tt.want).Abs(); off > tt.want/100 || known != tt.known {
			t.Errorf("%s: %v, %t; want %v, %t", tt.name, got, known, tt.want, tt.known)
		}
	}
}

// TestDrainIsForgotten: what left once says nothing after a minute of standstill.
func TestDrainIsForgotten(t *testing.T) {
	l := levels{excess: 1000}
	d := watched(20, l)
	for second := range uint64(60) {
		d.observe(time.Unix(int64(60+second), 0), spool.Ledger{Total: totals(59*20, 1000)}, l)
	}
	if got := d.untilRoom(problem.SpoolFull, ""); got != 0 {
		t.Errorf("%v although nothing leaves, want unknown", got)
	}
}
