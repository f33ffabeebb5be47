package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Spool is what is needed of *spool.Spool.
type Spool interface {
	List(ctx context.Context, q spool.Query) (spool.Page, error)
	Find(ctx context.Context, id message.ID) (spool.Item, error)
	Receipt(ctx context.Context, id message.ID) (message.Receipt, error)
	Redrive(ctx context.Context, ids []message.ID) (done []message.ID, refused map[message.ID]error, err error)
	Discard(ctx context.Context, ids []message.ID) (done []message.ID, refused map[message.ID]error, err error)
	PausedSince(topic string) time.Time
}

// Filter chooses dead letters: those of Query, whose States, Cursor, Limit and
// Content are not used; or, when there are any, those of IDs.
type Filter struct {
	Query spool.Query
	IDs   []message.ID
}

// pageSize is how many dead letters one step looks at.
const pageSize = 200

// each visits the chosen ones, each once, in order, some at a time. unreadable
// counts those that are damaged, which stop no others. What dies again meanwhile
// is not visited again.
func (f *Filter) each(ctx context.Context, s Spool, visit func([]spool.Item) error) (unreadable int, err error) {
	q := f.Query
	q.States, q.Limit, q.Cursor, q.Content = []message.State{message.StateDead}, pageSize, "", false
	if len(f.IDs) > 0 {
		return f.named(ctx, s, visit)
	}
	for {
		page, err := s.List(ctx, q)
		if err != nil {
			return unreadable, err
		}
		unreadable += page.Unreadable
		if err := visit(page.Items); err != nil {
			return unreadable, err
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return unreadable, nil
		}
	}
}

// named visits those of IDs that are dead letters; one that is named twice, once.
func (f *Filter) named(ctx context.Context, s Spool, visit func([]spool.Item) error) (unreadable int, err error) {
	seen := map[message.ID]bool{}
	for ids := range slices.Chunk(f.IDs, pageSize) {
		var some []spool.Item
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			i, err := s.Find(ctx, id)
			switch {
			case err == nil && i.State == message.StateDead:
				some = append(some, i)
			case err == nil, errors.Is(err, spool.ErrNotFound):
			case ctx.Err() != nil, errors.Is(err, spool.ErrClosed), errors.Is(err, spool.ErrReadOnly):
				return unreadable, fmt.Errorf("find message %s: %w", id, err)
			default:
				unreadable++
			}
		}
		if err := visit(some); err != nil {
			return unreadable, err
		}
	}
	return unreadable, nil
}

// Count is how many dead letters a filter chooses.
type Count struct {
	Messages   int   `json:"messages"`
	Bytes      int64 `json:"bytes"`
	Ordered    int   `json:"with_ordering_key"` // which a redrive brings out of order
	Unreadable int   `json:"unreadable"`        // damaged: named by the log and the ledger
}

func (c *Count) add(i *spool.Item) {
	c.Messages++
	c.Bytes += int64(i.Size)
	if i.Message.OrderingKey != "" {
		c.Ordered++
	}
}

// Counted counts what a filter chooses, and changes nothing.
func Counted(ctx context.Context, s Spool, f Filter) (c Count, err error) {
	c.Unreadable, err = f.each(ctx, s, func(some []spool.Item) error {
		for i := range some {
			c.add(&some[i])
		}
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("count dead letters: %w", err)
	}
	return c, nil
}
