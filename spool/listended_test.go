package spool_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Settled messages are listed by their receipts, where a state asks for them: by
// topic, age and error, in pages of any size, each once, after what is held.
func TestSettledMessagesAreListed(t *testing.T) {
	r := newRig(t, spool.Options{})
	confirmed, cancelled := map[message.ID]bool{}, map[message.ID]bool{}
	for n := range 5 {
		for _, topic := range []string{"t", "u"} {
			all := r.accept(repeat(70, draft(topic, fmt.Sprint(n)))...)
			for _, gone := range all[:3] {
				if _, err := r.Cancel(t.Context(), gone.ID); err != nil {
					t.Fatal(err)
				}
				cancelled[gone.ID] = true
			}
			for _, sent := range all[3:] {
				confirmed[sent.ID] = true
			}
			r.confirmAll(topic)
		}
	}
	waits := r.accept(draft("t", "waits"))[0]
	for _, how := range []func(){func() {}, r.kill} {
		how()
		for _, limit := range []int{1000, 64, 7} {
			seen := map[message.ID]message.State{}
			items, _ := r.list(spool.Query{States: []message.State{message.StatePending, message.StateConfirmed, message.StateCancelled}, Limit: limit})
			for n, i := range items {
				if seen[i.ID] != 0 || (n == 0) != (i.ID == waits.ID) {
					t.Fatalf("pages of %d: item %d is %+v", limit, n, i.Receipt)
				}
				seen[i.ID] = i.State
				if confirmed[i.ID] != (i.State == message.StateConfirmed) || cancelled[i.ID] != (i.State == message.StateCancelled) {
					t.Fatalf("%s is %s", i.ID, i.State)
				}
				if i.State.Settled() && (i.SettledAt.IsZero() || i.Topic == "") {
					t.Fatalf("%+v", i.Receipt)
				}
			}
			if len(seen) != 701 {
				t.Fatalf("pages of %d: %d messages", limit, len(seen))
			}
		}
	}
	only := func(q spool.Query) (n int) {
		q.States = []message.State{message.StateCancelled}
		items, _ := r.list(q)
		if slices.ContainsFunc(items, func(i spool.Item) bool { return i.State != message.StateCancelled }) {
			t.Errorf("%+v: listed are others, too", q)
		}
		return len(items)
	}
	for name, got := range map[string][2]int{
		"all": {only(spool.Query{}), 30}, "of a topic": {only(spool.Query{Topic: "u"}), 15}, "of none": {only(spool.Query{Topic: "v"}), 0},
		"before": {only(spool.Query{Before: waits.AcceptedAt.AddDate(-1, 0, 0)}), 0}, "with a key": {only(spool.Query{Key: "k"}), 0},
		"with an error": {only(spool.Query{Error: "refused"}), 0},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d, want %d", name, got[0], got[1])
		}
	}
	if items, _ := r.list(spool.Query{}); len(items) != 1 {
		t.Errorf("without a state %d are listed", len(items))
	}
	if _, err := r.Export(t.Context(), io.Discard, spool.Query{States: []message.State{message.StateConfirmed}}); !errors.Is(err, spool.ErrExport) {
		t.Errorf("an export of what is settled: %v", err)
	}
}

// A damaged part of the receipts hides no other.
func TestListedReceiptsThatAreDamaged(t *testing.T) {
	r := newRig(t, spool.Options{})
	for range 3 {
		r.accept(draft("t", "x"))
		r.confirmAll("t")
	}
	r.damaged("sr", flipLast)
	page, err := r.List(t.Context(), spool.Query{States: []message.State{message.StateConfirmed}})
	if err != nil || page.Unreadable != 1 || len(page.Items) != 2 {
		t.Errorf("%d listed, %d unreadable (%v)", len(page.Items), page.Unreadable, err)
	}
}
