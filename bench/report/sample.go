package report

import "time"

// Key names what was measured: a peer at a number of connections.
type Key struct {
	Peer        string
	Connections int
}

// Sample is one measurement. What is 0 was not measured.
type Sample struct {
	Rate     float64       // messages answered per second
	P50, P99 time.Duration // from sending to the answer

	Cost   *Cost   // of the peer's process; nil: it has none of its own
	Client float64 // processor seconds per 100,000 messages that sending took
}

// Cost is what a peer's process spent on the messages of one measurement, the
// work after the last answer included.
type Cost struct {
	CPU       float64       // processor seconds per 100,000 messages
	Written   float64       // bytes written to storage per byte of body
	Anonymous float64       // MiB of anonymous memory, at most, while it was loaded
	Shared    float64       // messages a commit; 0: it does not tell
	Commit    time.Duration // mean
}

// NewCost makes a cost of the processor time and written bytes of messages with bodies
// of that size.
func NewCost(cpu time.Duration, written int64, messages float64, size int) *Cost {
	return &Cost{
		CPU:     cpu.Seconds() / messages * 100_000,
		Written: float64(written) / messages / float64(size),
	}
}

// Round is the measurements that were made one after the other.
type Round map[Key]Sample

// Run is all of it. Peers and Connections are in the order of the page.
type Run struct {
	Title       string
	Machine     string // what else it did
	Peers       []string
	Connections []int
	Rounds      []Round
}
