package httpapi_test

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// fakeSpool keeps messages in memory under the contract of httpapi.Spool.
type fakeSpool struct {
	mu      sync.Mutex
	appends int // calls that stored something
	drafts  []spool.Draft
	byID    map[message.ID]*message.Receipt
	keys    map[string]spool.Draft
	ids     map[string]message.ID
	changed chan struct{} // closed and replaced when a receipt changes

	err     error                           // answer of every call, when set
	wrongAt map[string]error                // per dedupe key: the fault of its draft
	hold    func(ctx context.Context) error // runs in Append before anything is stored
	read    func()                          // runs in Receipt and Cancel, when set
	epoch   uint64
}

func newFakeSpool() *fakeSpool {
	return &fakeSpool{
		byID: map[message.ID]*message.Receipt{}, keys: map[string]spool.Draft{}, ids: map[string]message.ID{},
		wrongAt: map[string]error{}, changed: make(chan struct{}),
	}
}

func (f *fakeSpool) Append(ctx context.Context, drafts []spool.Draft) ([]message.Receipt, error) {
	if f.hold != nil {
		if err := f.hold(ctx); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	for i, d := range drafts {
		if err := f.fault(d); err != nil {
			return nil, &spool.DraftError{Index: i, Err: err}
		}
	}
	receipts := make([]message.Receipt, len(drafts))
	for i, d := range drafts {
		receipts[i] = f.accept(d)
	}
	return receipts, nil
}

func scoped(d spool.Draft) string { return d.Topic + "\x00" + d.DedupeKey }

func (f *fakeSpool) fault(d spool.Draft) error {
	if err := f.wrongAt[d.DedupeKey]; err != nil {
		return err
	}
	if first, ok := f.keys[scoped(d)]; ok && d.DedupeKey != "" && first.Fingerprint != d.Fingerprint {
		return spool.ErrKeyReused
	}
	return nil
}

func (f *fakeSpool) accept(d spool.Draft) message.Receipt {
	if id, ok := f.ids[scoped(d)]; ok && d.DedupeKey != "" {
		again := *f.byID[id]
		again.Duplicate = true
		return again
	}
	f.appends++
	f.epoch++
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	r := &message.Receipt{
		ID: message.NewID(message.SpoolID{1, 2, 3, 4, 5}, 1, f.epoch, at), Topic: d.Topic,
		State: message.StatePending, AcceptedAt: at,
	}
	r.History.Add(message.Event{At: at, Name: "accepted"})
	f.byID[r.ID], f.keys[scoped(d)], f.ids[scoped(d)] = r, d, r.ID
	f.drafts = append(f.drafts, d)
	return *r
}

func (f *fakeSpool) Receipt(_ context.Context, id message.ID) (message.Receipt, error) {
	if f.read != nil {
		f.read()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.byID[id]
	switch {
	case f.err != nil:
		return message.Receipt{}, f.err
	case !ok:
		return message.Receipt{}, spool.ErrNotFound
	}
	return *r, nil
}

func (f *fakeSpool) Cancel(ctx context.Context, id message.ID) (message.Receipt, error) {
	r, err := f.Receipt(ctx, id)
	switch {
	case err != nil:
		return r, err
	case r.MaybeSent:
		return r, spool.ErrMaybeSent
	case r.State == message.StateCancelled:
		return r, nil
	case r.State != message.StatePending && r.State != message.StateRetrying:
		return r, spool.ErrAlreadySent
	}
	return f.change(id, func(r *message.Receipt) { r.State = message.StateCancelled }), nil
}

func (f *fakeSpool) Retention() (time.Duration, int) { return 24 * time.Hour, 1_000_000 }

func (f *fakeSpool) Wait(ctx context.Context, id message.ID) (message.Receipt, error) {
	for {
		f.mu.Lock()
		r, changed := *f.byID[id], f.changed
		f.mu.Unlock()
		if r.State.Settled() || r.State == message.StateDead {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, nil
		}
	}
}

func (f *fakeSpool) change(id message.ID, how func(*message.Receipt)) message.Receipt {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(f.byID[id])
	close(f.changed)
	f.changed = make(chan struct{})
	return *f.byID[id]
}

// confirm settles a message as the broker's SEND_OK does.
func (f *fakeSpool) confirm(id message.ID) {
	f.change(id, func(r *message.Receipt) {
		r.State, r.SettledAt = message.StateConfirmed, r.AcceptedAt.Add(time.Second)
		r.Confirmation = &message.Confirmation{MessageID: id.String(), OffsetMessageID: "7F00000100002A9F0000000000000000", Queue: "broker-a/3", Offset: 42}
		r.History.Add(message.Event{At: r.SettledAt, Name: "confirmed"})
	})
}

func (f *fakeSpool) stored() []spool.Draft {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]spool.Draft(nil), f.drafts...)
}

// last returns the only or the newest draft stored.
func (f *fakeSpool) last() spool.Draft {
	drafts := f.stored()
	return drafts[len(drafts)-1]
}

func sum(b []byte) [32]byte { return sha256.Sum256(b) }
