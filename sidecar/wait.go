package sidecar

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/volume"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

const ballastName = "ballast"

func ballastIn(dir string) string { return filepath.Join(dir, ballastName) }

// awaitRoom returns when the volume has the reserve free. Opening a database on
// less is what a full disk ends by SIGBUS, again and again. On the way it gives
// the ballast up, and lets the applications be answered: nothing is stored now.
//
// Others may fill what is freed at once. So it is believed only when it is there
// at two looks, a second apart. waited is false when there was room from the
// beginning.
func (s *Sidecar) awaitRoom(ctx context.Context) (waited bool, err error) {
	r := s.parts.room
	if s.roomToOpen() {
		return false, nil
	}
	s.conditions.Set(admin.DiskLow, true)
	held, err := r.ballast.Held()
	if err != nil {
		return true, err
	}
	s.log.Warn("the volume is full: the spool is opened when it has room; nothing is accepted until then",
		"dir", r.dir, "free_bytes", r.free.Load(), "reserve_bytes", r.cap.Reserve, "ballast_given_up_bytes", held)
	r.gaveUp = held
	if err := r.ballast.GiveUp(); err != nil {
		return true, err
	}
	if err := s.dropUnfinished(); err != nil {
		return true, err
	}
	if s.offline {
		return true, s.roomForATool()
	}
	if err := s.openData(ctx); err != nil {
		return true, err
	}
	return true, s.lookUntilRoom(ctx)
}

// dropUnfinished removes what a compaction was writing when the volume was full: it
// may be all that keeps it so, and nobody else could remove it.
func (s *Sidecar) dropUnfinished() error {
	r := s.parts.room
	removed, kept, err := kv.DropUnfinished(databaseIn(r.dir), spool.FormatVersion)
	if removed > 0 {
		s.log.Info("removed tables that were not finished when the process ended", "bytes", removed)
	}
	if kept > 0 {
		s.log.Warn("tables that were not finished when the process ended are kept, since something else is damaged and they may be all that has some messages: opening the spool needs room for it on the volume, and tells what is damaged", "bytes", kept)
	}
	if err != nil {
		return err
	}
	if r.removable, err = kv.Removable(databaseIn(r.dir), spool.FormatVersion); r.removable > 0 {
		s.log.Info("opening the spool makes room: a compaction was done when the process ended, and its old tables are there yet", "bytes", r.removable)
	}
	return err
}

// roomForATool does not wait: an operator is there to make room.
func (s *Sidecar) roomForATool() error {
	if s.roomToOpen() {
		return nil
	}
	r := s.parts.room
	return fmt.Errorf("%w: %s are free, and opening the spool may take %s; free space on the volume of %s, and do it again",
		spool.ErrDiskLow, mib(r.free.Load()), mib(r.toOpen()), r.dir)
}

func (s *Sidecar) lookUntilRoom(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for stays := 0; stays < 2; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.parts.broken:
			return err
		}
		if stays++; !s.roomToOpen() {
			stays = 0
		}
	}
	s.log.Info("the volume has room again: opening the spool", "free_bytes", s.parts.room.free.Load())
	return nil
}

// roomToOpen looks at the volume.
func (s *Sidecar) roomToOpen() bool {
	r := s.parts.room
	space, err := volume.SpaceOf(volume.Existing(r.dir))
	if err != nil || space.Total == 0 {
		return true // then opening says what is wrong
	}
	r.free.Store(space.Free)
	return space.Free >= r.toOpen()
}

// toOpen is the free space that it takes to open the spool: the reserve, or, where
// opening makes room before it takes any, as much less; half of it at least.
func (r *room) toOpen() int64 { return r.cap.Reserve - min(r.removable, r.cap.Reserve/2) }

// door is the spool as the data listeners know it: they may be there before it
// is open.
type door struct {
	spool  atomic.Pointer[spool.Spool]
	keeper atomic.Pointer[transaction.Keeper]
	keep   time.Duration // of receipts
	most   int
}

// notOpen refuses what would be stored; unknown answers questions about what may
// be stored.
func notOpen() error {
	return problem.New(problem.DiskLow, "the volume is full, and the spool is opened when it has room; nothing was stored")
}

func unknown() error {
	return problem.New(problem.Starting, "the spool is not open yet")
}

// Append implements httpapi.Spool.
func (d *door) Append(ctx context.Context, drafts []spool.Draft) ([]message.Receipt, error) {
	if s := d.spool.Load(); s != nil {
		return s.Append(ctx, drafts)
	}
	return nil, notOpen()
}

// Receipt implements httpapi.Spool.
func (d *door) Receipt(ctx context.Context, id message.ID) (message.Receipt, error) {
	if s := d.spool.Load(); s != nil {
		return s.Receipt(ctx, id)
	}
	return message.Receipt{}, unknown()
}

// Cancel implements httpapi.Spool.
func (d *door) Cancel(ctx context.Context, id message.ID) (message.Receipt, error) {
	if s := d.spool.Load(); s != nil {
		return s.Cancel(ctx, id)
	}
	return message.Receipt{}, unknown()
}

// Wait implements httpapi.Spool.
func (d *door) Wait(ctx context.Context, id message.ID) (message.Receipt, error) {
	if s := d.spool.Load(); s != nil {
		return s.Wait(ctx, id)
	}
	return message.Receipt{}, unknown()
}

// Retention implements httpapi.Spool.
func (d *door) Retention() (keep time.Duration, most int) { return d.keep, d.most }
