package heap

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// percent is how far the heap grows above what is alive, when GOGC does not
// say. Most of our heap are memtables and the buffers of tables, large and without
// pointers, so four times the collections cost little: within the noise of 4 s for
// 100,000 messages.
const percent = 25

// Bound makes the collector keep the heap smaller than by default, unless GOGC
// is set.
func Bound() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

const (
	interval = 5 * time.Second
	// calm intervals in a row end a burst. Badger keeps the buffers of its
	// tables for 2 s each, up to eight of them (ristretto z/allocator.go).
	calm = 4
	// busy is how much is allocated in an interval while there is work, in bytes.
	busy = 8 << 20
)

// GiveBack returns the memory of each burst to the system when it is over,
// until ctx is done: the runtime alone does not collect an idle heap for two
// minutes, and is slow to return what it has collected.
func GiveBack(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	w := watch{last: allocated()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if w.over(allocated()) {
			giveBack()
		}
	}
}

// giveBack collects twice: what is in a sync.Pool, as the buffers of connections that
// are closed, outlives one collection. FreeOSMemory does the second.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// watch finds the end of a burst, once for each.
type watch struct {
	last  uint64 // bytes that were ever allocated
	quiet int    // intervals since the last busy one
}

func (w *watch) over(now uint64) bool {
	if now-w.last >= busy {
		w.quiet = 0
	} else {
		w.quiet++
	}
	w.last = now
	return w.quiet == calm
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
