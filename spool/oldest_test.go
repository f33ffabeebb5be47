package spool_test

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestOldestIsWhatWaitsLongest(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	r := newRig(t, spool.Options{Now: func() time.Time { return now }})
	if _, ok := r.Oldest(); ok {
		t.Fatal("an empty spool has an oldest message")
	}
	first := now
	r.accept(draft("a", "first"))
	now = now.Add(time.Hour)
	second := now
	r.accept(draft("b", "second"))
	if at, ok := r.Oldest(); !ok || !at.Equal(first) {
		t.Fatalf("%v %v, want %v", at, ok, first)
	}
	leases := r.lease("a", 1)
	if at, _ := r.Oldest(); !at.Equal(first) {
		t.Fatalf("a lease hides it: %v", at)
	}
	r.Confirm(leases, []message.Confirmation{{OffsetMessageID: "x"}})
	if at, ok := r.Oldest(); !ok || !at.Equal(second) {
		t.Fatalf("%v %v, want %v", at, ok, second)
	}
}
