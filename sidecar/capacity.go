package sidecar

import (
	"errors"
	"fmt"
	"sort"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/volume"
	"github.com/remora-mq/remora/spool"
)

// Capacity is how a spool shares its volume with everybody else; in bytes.
type Capacity struct {
	Volume   int64 // its size; 0: the file system does not say
	Limit    int64 // high-water mark of the blocks of the spool's directory
	Messages int64 // of these for held messages at most: without ballast and logs
	Reserve  int64 // free space below which nothing is accepted, nor the spool opened
	Ballast  int64 // and this file besides

	memTable int64 // of the database; 0: its default
}

// memTables are tried in order, the database's default first: a small volume has
// no room for what a large one flushes.
var memTables = []int64{0, 4 << 20}

// leastMessages is what has to be left for messages.
const leastMessages = 16 << 20

// errSmall is why a memtable of some size does not do.
var errSmall = errors.New("not enough room")

// CapacityOf divides the volume: the reserve stays free, and room to compact all
// messages at once; the directory takes at most the limit, and a ballast of a quarter
// of it, at most the reserve, and the logs are part of that. The error says with which
// numbers it would do.
func CapacityOf(c config.Spool, space volume.Space) (Capacity, error) {
	var found Capacity
	var err error
	for _, size := range memTables {
		if size > 0 && kv.Headroom(size) >= kv.Headroom(0) {
			continue
		}
		one, unfit := capacityWith(c, space, size)
		if unfit == nil && (err != nil || found.Limit == 0 || one.Messages > found.Messages) {
			found, err = one, nil
		} else if found.Limit == 0 {
			err = unfit
		}
		if unfit == nil && one.Messages >= one.Limit/2 {
			return one, nil
		}
	}
	return found, err
}

func capacityWith(c config.Spool, space volume.Space, memTable int64) (Capacity, error) {
	reserve, auto, err := c.ReserveSize()
	if err != nil {
		return Capacity{}, err
	}
	one := Capacity{Volume: space.Total, Reserve: kv.Headroom(memTable), memTable: memTable}
	if !auto {
		if int64(reserve) < one.Reserve {
			return one, fmt.Errorf("%w: spool.reserve is %s, and flush and compaction take up to %s of free space; raise it, or write auto",
				errSmall, reserve, mib(one.Reserve))
		}
		one.Reserve = max(one.Reserve, int64(reserve)/2)
	}
	one = one.limitedTo(int64(c.Limit), int64(reserve), auto)
	if space.Total > 0 && !one.fits() {
		one = one.lowered(int64(reserve), auto)
	}
	logs := kv.LogRoom(memTable)
	if one.Messages < leastMessages {
		need := leastMessages + logs + one.Ballast
		return one, fmt.Errorf("%w for a spool: its volume has %s, of which %s have to stay free; ballast (%s) and logs (%s) leave %s of its limit (%s) for messages, and %s are the least; set spool.limit to %s or more, on a volume of %s or more",
			errSmall, mib(space.Total), mib(one.Reserve), mib(one.Ballast), mib(logs), mib(max(one.Messages, 0)), mib(one.Limit),
			mib(leastMessages), mib(need*4/3), mib(need*4/3+one.Reserve))
	}
	return one, nil
}

// limitedTo divides a limit: ballast and logs are part of it.
func (c Capacity) limitedTo(limit, reserve int64, auto bool) Capacity {
	c.Limit, c.Ballast = limit, min(c.Reserve, limit/4)
	if !auto {
		c.Ballast = reserve - c.Reserve
	}
	c.Messages = c.Limit - c.Ballast - kv.LogRoom(c.memTable)
	return c
}

// fits reports whether the volume has room for the limit, the reserve, and a
// compaction of all messages.
func (c Capacity) fits() bool { return c.Limit+c.Reserve+kv.RewriteRoom(c.Messages) <= c.Volume }

// lowered is for a volume that is too small for the limit: it is the largest in whole
// MiB for which there is room.
func (c Capacity) lowered(reserve int64, auto bool) Capacity {
	few := sort.Search(int(c.Limit>>20), func(n int) bool { return !c.limitedTo(int64(n+1)<<20, reserve, auto).fits() })
	return c.limitedTo(int64(few)<<20, reserve, auto)
}

// unit is how many bytes a message or a batch may have, of those asked for: what one
// topic may hold, with room for what a message carries besides its body.
func (c Capacity) unit(asked config.Size, share float64) int {
	return int(max(1, min(int64(asked), int64(share*float64(c.Messages)*15/16))))
}

// batch is how many messages a batch may have, of those asked for: what one commit
// has room for, whatever they carry.
func (c Capacity) batch(asked config.MaxBatch) int {
	return min(asked.Messages, spool.MostMessages(kv.MaxCommit(c.memTable), int64(asked.Bytes)))
}

// budget is how many bytes may be taken, of those asked for, by what is known of
// messages that are gone: receipts, idempotency keys, and dedupe marks, an eighth
// of the room each, so that it keeps nothing from being accepted.
func (c Capacity) budget(asked config.Size) int64 { return min(int64(asked), c.Messages/8) }

// receiptBytes is about what a receipt takes on the disk.
const receiptBytes = 128

// receipts is how many receipts may be kept, of those asked for: those that their
// bytes are enough for, if they are as large as most.
func (c Capacity) receipts(asked config.Receipts) int {
	return int(min(int64(asked.Max), c.budget(asked.Limit)/receiptBytes))
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
