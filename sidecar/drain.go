package sidecar

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// drainMeter tells a refused application when there is room again, and an operator when
// what waits has left, from how fast the spool, or its topic, has emptied. Its methods
// may be called from any goroutine.
type drainMeter struct {
	mu     sync.Mutex
	at     time.Time
	all    emptying
	topics map[string]*emptying // those that are near their share
	share  float64              // bytes that a topic may hold
	excess float64              // bytes above the low-water mark
	lack   float64              // bytes of free space that are missing
}

// lowWater is the part of the limit down to which a full spool has to go before
// it makes sense to send again.
const lowWater = 0.9

// emptying is how fast messages leave.
type emptying struct {
	settled uint64 // messages, when observed
	held    float64
	rate    mean // bytes a second
	pace    mean // messages a second
}

// levels are the marks of the moment, in bytes.
type levels struct {
	share  float64 // of a topic
	excess float64
	lack   float64
}

// observe is called about once a second with the ledger.
func (d *drainMeter) observe(now time.Time, led spool.Ledger, l levels) {
	d.mu.Lock()
	defer d.mu.Unlock()
	took := 0.0
	if !d.at.IsZero() {
		took = now.Sub(d.at).Seconds()
	}
	d.at, d.share, d.excess, d.lack = now, l.share, l.excess, l.lack
	d.all.observe(took, led.Total)
	near := make(map[string]*emptying)
	for topic, counts := range led.Topics {
		if float64(counts.Bytes) < lowWater*l.share {
			continue
		}
		e, known := d.topics[topic]
		if !known {
			e = &emptying{settled: settledOf(counts)}
		}
		e.observe(took, counts)
		near[topic] = e
	}
	d.topics = near
}

func settledOf(c spool.Counts) uint64 { return c.Accepted - c.InSpool.Held() }

// observe takes what was held to be of mean size.
func (e *emptying) observe(took float64, c spool.Counts) {
	settled, size := settledOf(c), 0.0
	if held := c.InSpool.Held(); held > 0 {
		size = float64(c.Bytes) / float64(held)
	}
	if took > 0 {
		pace := float64(settled-e.settled) / took
		e.pace.add(pace)
		e.rate.add(pace * size)
	}
	e.settled, e.held = settled, float64(c.Bytes)
}

// until estimates when bytes have left; 0 is unknown.
func (e *emptying) until(bytes float64) time.Duration {
	const stalled = 1.0 // bytes a second: no estimate is worth more than "unknown"
	if e.rate < stalled || bytes > e.held {
		return 0
	}
	return max(time.Duration(min(max(bytes, 0)/float64(e.rate), 3600)*float64(time.Second)), time.Second)
}

// untilRoom estimates when a request that was refused with a code, for a topic,
// would be taken; 0 is unknown: nothing leaves, or others fill the volume.
func (d *drainMeter) untilRoom(code, topic string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch code {
	case problem.SpoolFull:
		return d.all.until(d.excess)
	case problem.DiskLow:
		return d.all.until(d.lack)
	case problem.TopicFull:
		if e := d.topics[topic]; e != nil {
			return e.until(e.held - lowWater*d.share)
		}
	}
	return 0
}

// untilLeft estimates when so many messages, which wait now, have left. Not known:
// nothing leaves.
func (d *drainMeter) untilLeft(waiting uint64) (left time.Duration, known bool) {
	const stalled = 0.1 // messages a second: as of bytes
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case waiting == 0:
		return 0, true
	case d.all.pace < stalled:
		return 0, false
	}
	return time.Duration(float64(waiting) / float64(d.all.pace) * float64(time.Second)), true
}

// untilDrained estimates when what waits for the broker has left the spool.
func (d *drainMeter) untilDrained(n spool.InSpool, keptBack uint64) (left time.Duration, known bool) {
	waiting := n.Pending + n.InFlight + n.Retrying
	return d.untilLeft(waiting - min(keptBack, waiting))
}

var drainDesc = prometheus.NewDesc("remora_spool_drain_seconds",
	"Until what waits for the broker has left, at the rate of the last seconds; what comes meanwhile is not counted. Absent while nothing leaves.", nil, nil)

// drainCollector tells how long the drain takes when it is asked.
type drainCollector struct{ *Sidecar }

// Describe implements prometheus.Collector.
func (drainCollector) Describe(ch chan<- *prometheus.Desc) { ch <- drainDesc }

// Collect implements prometheus.Collector.
func (c drainCollector) Collect(ch chan<- prometheus.Metric) {
	sp := c.parts.spool
	if left, known := c.drain.untilDrained(sp.Total().InSpool, sp.KeptBack()); known {
		ch <- prometheus.MustNewConstMetric(drainDesc, prometheus.GaugeValue, left.Seconds())
	}
}
