package spool_test

import (
	"fmt"
	"testing"

	"github.com/remora-mq/remora/spool"
)

// Total counts each topic once, however many there are.
func TestTotalIsThatOfTheLedger(t *testing.T) {
	r := newRig(t, spool.Options{})
	for n := range 3 {
		var drafts []spool.Draft
		for k := range 100 {
			drafts = append(drafts, draft(fmt.Sprint("topic-", 100*n+k), "x"), draft(fmt.Sprint("topic-", k), "y"))
		}
		r.accept(drafts...)
		r.bury(r.lease(fmt.Sprint("topic-", 100*n+1), 1)[0])
		if total, led := r.Total(), r.Ledger(); total != led.Total || len(led.Topics) != 100*(n+1) || total.Accepted != uint64(200*(n+1)) {
			t.Errorf("of %d topics: %+v, in the ledger %+v", len(led.Topics), total, led.Total)
		}
	}
}
