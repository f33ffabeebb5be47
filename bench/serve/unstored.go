package serve

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// unstored answers as a spool does, and keeps nothing.
type unstored struct {
	id    message.SpoolID
	count atomic.Uint64
}

func (u *unstored) Append(_ context.Context, drafts []spool.Draft) ([]message.Receipt, error) {
	receipts := make([]message.Receipt, len(drafts))
	for i := range drafts {
		now := time.Now().Truncate(time.Millisecond)
		id := message.NewID(u.id, 1, u.count.Add(1), now)
		receipts[i] = message.Receipt{ID: id, Topic: drafts[i].Topic, State: message.StatePending, AcceptedAt: now}
	}
	return receipts, nil
}

func (u *unstored) Receipt(context.Context, message.ID) (message.Receipt, error) {
	return message.Receipt{}, spool.ErrNotFound
}

func (u *unstored) Cancel(context.Context, message.ID) (message.Receipt, error) {
	return message.Receipt{}, spool.ErrNotFound
}

func (u *unstored) Wait(context.Context, message.ID) (message.Receipt, error) {
	return message.Receipt{}, spool.ErrNotFound
}

func (u *unstored) Retention() (time.Duration, int) { return 0, 1 }

func (u *unstored) commits() Commits { return Commits{} }

func (u *unstored) close(context.Context) (Account, error) {
	n := u.count.Load()
	return Account{Accepted: n, Confirmed: n}, nil
}
