package sidecar

import (
	"sync"
	"time"

	"github.com/remora-mq/remora/spool"
)

// drainMeter tells a refused application when there is room again, from how
// fast the spool has emptied. Its methods may be called from any goroutine.
type drainMeter struct {
	mu      sync.Mutex
	at      time.Time
	settled uint64  // messages, then
	rate    float64 // messages a second, of the last few seconds
	excess  float64 // messages above the low-water mark, at their mean size
}

// lowWater is the part of the limit down to which a full spool has to go before
// it makes sense to send again.
const lowWater = 0.9

// observe is called about once a second with the ledger's totals.
func (d *drainMeter) observe(now time.Time, total spool.Counts, limit uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	held := total.InSpool.Held()
	settled := total.Accepted - held
	if took := now.Sub(d.at).Seconds(); !d.at.IsZero() && took > 0 {
		d.rate += (float64(settled-d.settled)/took - d.rate) / 5
	}
	d.at, d.settled, d.excess = now, settled, 0
	if total.Bytes > 0 {
		over := float64(total.Bytes) - lowWater*float64(limit)
		d.excess = max(over, 0) * float64(held) / float64(total.Bytes)
	}
}

// untilRoom estimates the time; 0 is unknown.
func (d *drainMeter) untilRoom() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	const stalled = 0.01 // messages a second: no estimate is worth more than "unknown"
	if d.rate < stalled {
		return 0
	}
	return max(time.Duration(min(d.excess/d.rate, 3600)*float64(time.Second)), time.Second)
}
