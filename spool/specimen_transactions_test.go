package spool_test

import (
	"context"
	"fmt"
	"time"

	"github.com/remora-mq/remora/spool"
)

// prepare leaves transactions in all of their states.
func (s *specimen) prepare(r *rig) {
	r.t.Helper()
	for i, do := range []func(id string){
		func(string) {},
		func(id string) { r.decided(id, spool.TransactionCommitted) },
		func(id string) { r.decided(id, spool.TransactionRolledBack) },
		func(id string) {
			if _, err := r.Undecide(context.Background(), id, "nobody answers"); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		number := len(s.ids)
		d := prepared(fmt.Sprint("transaction ", number), draft("t", fmt.Sprint("half ", number)), keyed("k", fmt.Sprint("half ", number+1), "key 1"))
		if i%2 == 0 {
			d.Messages[0] = bulky(d.Messages[0])
		} else {
			d.Key = d.ID
		}
		d.Check.After = 1000 * time.Hour
		tx, _ := r.prepare(d)
		s.ids = append(s.ids, tx.Messages...)
		do(d.ID)
	}
}
