package spool_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Of a message that is held, or whose receipt is kept, it is not said that it is not there
// because damage hides what leads to it.
func TestReceiptsHiddenByDamageAreNotDenied(t *testing.T) {
	accept := func(r *rig, times, size int, topic func(n int) string) (ids []message.ID) {
		for range times {
			var some []spool.Draft
			for n := range 100 * times {
				some = append(some, under(fmt.Sprint("key ", len(ids)+n), draft(topic(n), strings.Repeat("x", size))))
			}
			for _, got := range r.accept(some...) {
				ids = append(ids, got.ID)
			}
		}
		return ids
	}
	one := func(int) string { return "t" }
	for name, tt := range map[string]struct {
		fill   func(*rig) []message.ID
		hidden string // where a block begins
	}{
		"the index": {func(r *rig) []message.ID {
			return accept(r, 8, 1, func(n int) string { return fmt.Sprint("topic ", n) }) // a block each
		}, "si\x00\x00\x00\x00\x00\x00"},
		"the block": {func(r *rig) []message.ID { return accept(r, 4, 500, one) }, "sm\x00\x00\x00\x01"},
		"the dead letter": {func(r *rig) []message.ID {
			ids := accept(r, 2, 2000, one)
			for range ids {
				r.bury(r.lease("t", 1)[0])
			}
			return ids
		}, "sd\x00\x00\x00\x01"},
		"the receipt": {func(r *rig) []message.ID {
			ids := accept(r, 8, 1, one)
			r.confirmAll("t")
			return ids
		}, "sr\x00\x00\x00\x00\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			if !inChild(t) {
				return
			}
			r := newRig(t, spool.Options{Window: 1})
			ids := tt.fill(r)
			r.reopen()
			hide(t, r.dbDir(), tt.hidden)
			r.rests()
			damaged := 0
			for n, id := range ids {
				another := id // of another spool, with the same sequence
				another[0] ^= 1
				switch got, err := r.Receipt(t.Context(), id); {
				case errors.Is(err, spool.ErrNotFound) || err == nil && got.ID != id:
					t.Fatalf("message %d is %+v, %v", n, got, err)
				case err != nil:
					damaged++
				default:
					if got, err := r.Receipt(t.Context(), another); !errors.Is(err, spool.ErrNotFound) {
						t.Fatalf("an ID that nobody gave, beside message %d, is %+v, %v", n, got, err)
					}
				}
			}
			if damaged == 0 || r.db.Err() != nil {
				t.Errorf("%d receipts cannot be read; failed: %v", damaged, r.db.Err())
			}
			if name != "the receipt" {
				return
			}
			for n, id := range ids { // whose keys tell enough
				if again := r.accept(under(fmt.Sprint("key ", n), draft("t", "x"))); !again[0].Duplicate || again[0].ID != id {
					t.Fatalf("repeat of %d: %+v", n, again)
				}
			}
		})
	}
}
