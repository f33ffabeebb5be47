package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/volume"
	"github.com/remora-mq/remora/spool"
)

// quarantineName is the entry of the spool's directory that the limit leaves
// out: damaged files wait there for an operator, and must not keep messages from
// being accepted. The reserve counts them, as it counts everything.
const quarantineName = "quarantine"

// room watches the volume and the directory of the spool, and says whether there
// is room for messages. It is the spool's Space.
//
// Free space is asked of the file system before each commit that accepts. The
// directory is measured once a second; what was written since counts on top, so
// that the limit is not overrun in between.
type room struct {
	dir     string
	cap     Capacity
	ballast volume.Ballast
	log     *slog.Logger

	free      atomic.Int64
	used      atomic.Int64 // blocks of dir, when measured
	wrote     atomic.Int64 // bytes written since
	written   atomic.Int64 // in all
	low       atomic.Bool  // below the reserve, and not above it by an eighth, or for a while, since
	since     atomic.Int64 // when it was below the reserve last, in ns since 1970
	full      atomic.Bool  // at the limit, and not below 90 % of it since
	waiting   atomic.Bool  // for the ballast to be restored
	looked    atomic.Int64 // when Spare did last, in ns since began; 0: it has not
	began     time.Time
	gaveUp    int64        // bytes of the ballast, to open the spool; not changed after that
	removable int64        // bytes that opening the spool removes before it writes any; not changed after that
	dropped   atomic.Int64 // bytes of confirmed messages that were given up since space was given back

	measuring sync.Mutex // held by the one measure that runs
}

func newRoom(dir string, c Capacity, log *slog.Logger) *room {
	return &room{dir: dir, cap: c, ballast: volume.Ballast{Path: ballastIn(dir), Size: c.Ballast}, log: log, began: time.Now()}
}

// Look asks the volume for its free space. When it does not answer, what was
// known stays: the write that follows meets the same storage.
func (r *room) Look() {
	space, err := volume.SpaceOf(r.dir)
	if err != nil || space.Total == 0 {
		return
	}
	r.saw(space.Free, time.Now())
}

// steadyFor is how long the reserve has to stay free until a low volume is
// believed to have room again, unless it has an eighth more: a compaction takes
// room and gives it back, and must not let accepts in and out.
const steadyFor = 5 * time.Second

func (r *room) saw(free int64, now time.Time) {
	r.free.Store(free)
	if free < r.cap.Reserve {
		r.low.Store(true)
		r.since.Store(now.UnixNano())
		return
	}
	if free >= r.cap.Reserve+r.cap.Reserve/8 || now.UnixNano()-r.since.Load() >= int64(steadyFor) {
		r.low.Store(false)
	}
}

// needed is the free space from which messages are taken.
func (r *room) needed() int64 {
	if r.waiting.Load() {
		return r.cap.Reserve + r.cap.Ballast
	}
	return r.cap.Reserve
}

// Refuse says why there is no room for more bytes of messages.
func (r *room) Refuse(bytes int64) error {
	if r.isLow() {
		return fmt.Errorf("%w: %s are free, and messages are taken from %s on; free space on the volume of %s",
			spool.ErrDiskLow, mib(r.free.Load()), mib(r.needed()), r.dir)
	}
	if used := r.taken(); r.isFull(used, bytes) {
		return fmt.Errorf("%w: %s take %s of %s (spool.limit); raise it, or wait until the broker has taken some",
			spool.ErrFull, r.dir, mib(used), mib(r.cap.Limit))
	}
	return nil
}

// Wrote counts what a commit has written.
func (r *room) Wrote(bytes int) {
	r.wrote.Add(int64(bytes))
	r.written.Add(int64(bytes))
}

func (r *room) isLow() bool { return r.low.Load() || r.waiting.Load() }

func (r *room) taken() int64 { return r.used.Load() + r.wrote.Load() }

func (r *room) isFull(used, more int64) bool {
	low := int64(lowWater * float64(r.cap.Limit))
	if used <= low {
		r.full.Store(false)
	}
	if used+more > r.cap.Limit && used > low {
		r.full.Store(true)
	}
	return r.full.Load() || used+more > r.cap.Limit
}

// measure walks the directory. What is written meanwhile counts twice, until the
// next time.
func (r *room) measure() {
	r.measuring.Lock()
	defer r.measuring.Unlock()
	wrote := r.wrote.Load()
	used, err := volume.Allocated(r.dir, quarantineName)
	if err != nil {
		r.log.Warn("cannot measure the spool's directory; its limit holds by what is written since", "error", err)
		return
	}
	r.used.Store(used)
	r.wrote.Add(-wrote)
	r.isFull(r.taken(), 0)
}

// restore brings the ballast back as soon as the reserve stays free besides.
// Until then nothing is accepted.
func (r *room) restore() {
	held, err := r.ballast.Held()
	// A volume that does not tell its size does not tell its free space either.
	if err == nil && r.cap.Volume > 0 && r.free.Load()+held < r.cap.Reserve+r.cap.Ballast && held < r.cap.Ballast {
		r.waiting.Store(true)
		return
	}
	if err == nil {
		err = r.ballast.Restore()
	}
	if err != nil {
		r.log.Warn("cannot restore the ballast; nothing is accepted until it is there", "error", err)
	}
	r.waiting.Store(err != nil)
	r.Look()
}

// returnBallast brings back what a tool has given up, and no more, if that is still
// free: the next start may need it.
func (r *room) returnBallast() {
	if r == nil || r.gaveUp == 0 {
		return
	}
	if err := (volume.Ballast{Path: r.ballast.Path, Size: r.gaveUp}).Restore(); err != nil {
		r.log.Warn("cannot restore the ballast; the next start does so when there is room", "error", err)
	}
}

// forBroker says why the embedded broker's volume has no room: what it stores
// is besides what the spool gives back later. It stops at half of the reserve, so
// that a spool that is low can be emptied into it.
func (r *room) forBroker(dir string) error {
	space, err := volume.SpaceOf(dir)
	if err == nil && space.Total > 0 && space.Free < r.cap.Reserve/2 {
		err = fmt.Errorf("%s are free on the volume of %s, and the embedded broker leaves %s: free some space", mib(space.Free), dir, mib(r.cap.Reserve/2))
	}
	return err
}

// keep looks once a second, until ctx ends.
func (r *room) keep(ctx context.Context, s *spool.Spool, db *kv.DB) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	giver := newGiver(r, db.GiveBack)
	for {
		r.Look()
		r.measure()
		if r.waiting.Load() {
			r.restore()
		}
		r.giveUp(s)
		giver.Consider(ctx, time.Now(), r.waste(int64(s.Total().Bytes), s.Retained().Bytes))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Spare implements spool.Space, and is for dedupe marks too: what goes on below the
// reserve, which refuses messages only, goes on down to half of it. The rest is for
// what the database does with it (ADR 0012).
//
// It is asked for each mark, some 10,000 a second, so what was seen lately counts.
func (r *room) Spare() error {
	now := int64(time.Since(r.began))
	if last := r.looked.Load(); last == 0 || now-last >= int64(lookAgain) {
		r.Look()
		r.looked.Store(max(now, 1))
	}
	if free := r.free.Load(); r.cap.Volume > 0 && free < r.cap.Reserve/2 {
		return fmt.Errorf("%s are free on the volume of %s, and %s have to stay: free some space", mib(free), r.dir, mib(r.cap.Reserve/2))
	}
	return nil
}

// lookAgain is how old may be what Spare knows: less than it takes to write what
// is left free below it.
const lookAgain = 5 * time.Millisecond

// crowded is by how many bytes the directory is above its roomy part.
func (r *room) crowded() int64 { return r.taken() - int64(roomy*float64(r.cap.Limit)) }

// roomy is the part of the limit above which confirmed messages make room.
const roomy = 0.8

// giveUp drops what is kept of confirmed messages before anything is refused for
// want of room: when the volume is low, and from roomy on. What was dropped is
// on the disk until the database gives it back, and is not asked for twice.
func (r *room) giveUp(s *spool.Spool) {
	need := r.crowded()
	if need <= 0 {
		r.dropped.Store(0) // it has become room
	}
	if !r.full.Load() {
		need -= r.dropped.Load()
	}
	if r.isLow() {
		need = max(need, r.cap.Reserve+r.cap.Reserve/8-r.free.Load())
	}
	kept := s.Retained().Bytes
	if need <= 0 || kept == 0 {
		return
	}
	dropped, err := s.GiveUpRetained(need)
	if err != nil {
		r.log.Warn("confirmed messages could not be dropped to make room; it is tried again", "error", err)
		return
	}
	r.dropped.Add(dropped)
	if dropped > 0 {
		r.log.Warn("dropped confirmed messages to make room: they cannot be sent again", "bytes", dropped, "kept_bytes", kept-dropped)
	}
}
