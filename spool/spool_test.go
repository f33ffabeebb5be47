package spool_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestMessagesGoThroughInOrder(t *testing.T) {
	r := newRig(t, spool.Options{})
	for i := range 5 {
		r.accept(draft("orders", fmt.Sprint(i)))
	}
	leases := r.lease("orders", 0)
	if got := fmt.Sprint(bodies(leases)); got != "[0 1 2 3 4]" {
		t.Fatal(got)
	}
	r.none("orders")
	r.confirm(leases)
	got, err := r.Wait(t.Context(), leases[2].ID)
	if err != nil || got.State != message.StateConfirmed || got.Confirmation.OffsetMessageID != "offset-3" {
		t.Fatalf("%+v %v", got, err)
	}
	r.reopen()
	r.balanced()
	got, err = r.Receipt(t.Context(), leases[2].ID)
	if err != nil || got.State != message.StateConfirmed || got.Confirmation.Offset != 3 || got.Attempts != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	if n := r.Ledger().Total; n.Accepted != 5 || n.Confirmed != 5 || n.InSpool.Held() != 0 || n.Bytes != 0 {
		t.Fatalf("%+v", n)
	}
}

func TestHeldMessagesSurviveReopen(t *testing.T) {
	r := newRig(t, spool.Options{})
	big := string(bytes.Repeat([]byte("x"), 700<<10))
	r.accept(draft("a", "one"), draft("b", big), draft("a", "two"), draft("a", "three"))
	first := r.lease("a", 1)
	r.confirm(first)
	r.reopen()
	r.balanced()
	if got := fmt.Sprint(bodies(r.lease("a", 0))); got != "[two three]" {
		t.Fatal(got)
	}
	if got := bodies(r.lease("b", 0)); len(got) != 1 || got[0] != big {
		t.Fatal("the large body is not what it was")
	}
}

func TestTopicThatWasDrainedIsToldOfAgainAfterReopen(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("orders", "one"))
	r.confirm(r.lease("orders", 0))
	r.reopen()
	r.accept(draft("orders", "two"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if topic, err := r.NextTopic(ctx); err != nil || topic != "orders" {
		t.Fatalf("topic %q, %v", topic, err)
	}
	if got := fmt.Sprint(bodies(r.lease("orders", 0))); got != "[two]" {
		t.Fatal(got)
	}
}
