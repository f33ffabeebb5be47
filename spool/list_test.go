package spool_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// list follows the cursors and returns bodies, states and the number of pages.
func (r *rig) list(q spool.Query) (items []spool.Item, pages int) {
	r.t.Helper()
	for {
		page, err := r.List(context.Background(), q)
		if err != nil {
			r.t.Fatal(err)
		}
		items = append(items, page.Items...)
		if pages++; page.Next == "" {
			return items, pages
		}
		q.Cursor = page.Next
	}
}

func told(items []spool.Item) string {
	var all []string
	for _, i := range items {
		text := string(i.Message.Body[:min(len(i.Message.Body), 5)]) + " " + i.State.String()
		if i.OnHold {
			text += " on hold"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// every is a spool with a message of each kind that is held.
func every(t *testing.T, opts spool.Options) (r *rig, c *clock) {
	c = newClock()
	opts.Now = c.now
	r = newRig(t, opts)
	r.accept(draft("t", "gone"))
	r.confirm(r.lease("t", 0))
	r.accept(draft("t", "stiff"))
	r.bury(r.lease("t", 0)[0])
	c.advance(time.Hour)
	r.accept(draft("t", "retry"))
	r.Retry(r.lease("t", 0), c.now().Add(24*time.Hour), message.OutcomeRetryable, "queue is full")
	tagged := draft("u", "u1")
	tagged.Tag, tagged.Keys = "red", []string{"k1", "k2"}
	apart := draft("u", large('9'))
	apart.Tag = "blue"
	r.accept(tagged, draft("u", "u2"), apart)
	c.advance(time.Hour)
	r.accept(draft("t", "fly"))
	r.lease("t", 0)
	r.accept(draft("t", "wait"))
	r.putOnHold(r.accept(draft("t", "held"))[0].ID)
	return r, c
}

func TestListTellsEachHeldMessage(t *testing.T) {
	r, c := every(t, spool.Options{})
	for _, tc := range []struct {
		name string
		q    spool.Query
		want string
	}{
		{"all", spool.Query{}, "retry retrying, u1 pending, u2 pending, 9.... pending, fly in_flight, wait pending, held pending on hold, stiff dead"},
		{"a topic", spool.Query{Topic: "t"}, "retry retrying, fly in_flight, wait pending, held pending on hold, stiff dead"},
		{"an unknown topic", spool.Query{Topic: "x"}, ""},
		{"dead", spool.Query{States: []message.State{message.StateDead}}, "stiff dead"},
		{"two states", spool.Query{States: []message.State{message.StateDead, message.StateRetrying}}, "retry retrying, stiff dead"},
		{"on hold", spool.Query{OnHold: true}, "held pending on hold"},
		{"a key", spool.Query{Key: "k2"}, "u1 pending"},
		{"a tag", spool.Query{Tag: "blue"}, "9.... pending"},
		{"an error", spool.Query{Error: "is full"}, "retry retrying"},
		{"before", spool.Query{Before: c.now().Add(-90 * time.Minute)}, "stiff dead"},
	} {
		for limit := range 4 {
			tc.q.Limit, tc.q.Content = limit, true
			if items, _ := r.list(tc.q); told(items) != tc.want {
				t.Errorf("%s, %d a page: %s, want %s", tc.name, limit, told(items), tc.want)
			}
		}
	}
	items, _ := r.list(spool.Query{States: []message.State{message.StateDead}})
	if i := items[0]; i.Reason != "REFUSED" || i.Message.Body != nil || i.Size != len("t")+len("stiff") || i.Attempts != 1 {
		t.Errorf("%+v", i)
	}
}

// A page ends where its work does, not only where it is full; the cursor leads on.
func TestListDoesABoundedAmountOfWork(t *testing.T) {
	r := newRigOn(t, spool.Options{Window: 1}, kv.Options{MemTableSize: 4 << 20})
	for range 80 {
		r.accept(draft("t", strings.Repeat(".", 256<<10)))
	}
	items, pages := r.list(spool.Query{Key: "none"})
	if len(items) != 0 || pages < 3 {
		t.Errorf("%d items in %d pages", len(items), pages)
	}
	if items, _ := r.list(spool.Query{Limit: 1000}); len(items) != 80 {
		t.Errorf("%d items", len(items))
	}
}

func TestListPassesOverDamage(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "0"), draft("t", "1"))
	block := r.find("sm")[0]
	r.accept(draft("t", "behind"))
	block.value[len(block.value)-1] ^= 1
	r.behind(func(tx *kv.Tx) { tx.Set(block.key, block.value) })
	page, err := r.List(t.Context(), spool.Query{Content: true})
	if err != nil || told(page.Items) != "0 pending, behin pending" || page.Unreadable != 1 {
		t.Errorf("%s, %d unreadable (%v)", told(page.Items), page.Unreadable, err)
	}
}

func TestListRefusesForeignCursors(t *testing.T) {
	r := newRig(t, spool.Options{})
	for _, cursor := range []string{"x", "q", "q-1", "q1 ", "d1", "d1.", "d99999999999.1", "q1x"} {
		if _, err := r.List(t.Context(), spool.Query{Cursor: cursor}); !errors.Is(err, spool.ErrCursor) {
			t.Errorf("%q: %v", cursor, err)
		}
	}
}

func TestFindReturnsTheWholeMessage(t *testing.T) {
	r, _ := every(t, spool.Options{})
	items, _ := r.list(spool.Query{})
	for _, i := range items {
		got, err := r.Find(t.Context(), i.ID)
		if err != nil || got.ID != i.ID || got.State != i.State || got.Size != i.Size || got.Reason != i.Reason || len(got.Message.Body) == 0 {
			t.Errorf("%+v (%v), listed %+v", got, err, i)
		}
	}
	gone := r.settle("v", "key")
	if got, err := r.Find(t.Context(), gone); err != nil || got.Message != nil || got.State != message.StateConfirmed {
		t.Errorf("settled: %+v (%v)", got, err)
	}
	if _, err := r.Find(t.Context(), message.ID{1}); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

// looked is a context that does something at a look at it.
type looked struct {
	context.Context

	left int // looks before that
	do   func()
}

func (c *looked) Err() error {
	if c.left--; c.left == 0 {
		c.do()
	}
	return c.Context.Err()
}

// A message that ends while its payload is read for a list is not there, and is no damage.
func TestWhatEndsWhileItIsListedIsNotUnreadable(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", large('x')))
	leases := r.lease("t", 1)
	ended := false
	ctx := &looked{t.Context(), 2, func() {
		r.confirm(leases)
		r.flush()
		ended = true
	}}
	page, err := r.List(ctx, spool.Query{})
	if err != nil || !ended || page.Unreadable > 0 || len(page.Items) > 0 {
		t.Errorf("%+v, %v; it has ended: %t", page, err, ended)
	}
}
