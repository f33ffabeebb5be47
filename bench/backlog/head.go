package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// findHead opens a spool that nobody has open, and times how long it takes to
// find the oldest message that waits, which is on the disk behind all that have
// passed. Waiting for the disk to sync that an attempt may be made is taken off.
func findHead(ctx context.Context, dir string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // when nothing waits, a lease would for ever
	defer cancel()
	db, err := kv.Open(ctx, kv.Options{Dir: filepath.Join(dir, "db")})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }() //nolint:contextcheck // it bounds itself
	sp, err := spool.Open(ctx, db, spool.Options{Dir: dir, Limit: 1 << 40})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, sp.Close()) }() //nolint:contextcheck // the same
	passed := sp.Ledger().Total.Confirmed
	topic, err := sp.NextTopic(ctx)
	if err != nil {
		return 0, err
	}
	synced, began := db.Stats().TotalSync, time.Now()
	leases, err := sp.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: 1})
	took = time.Since(began) - (db.Stats().TotalSync - synced)
	if err == nil && (len(leases) != 1 || leases[0].Seq != passed+1) {
		err = fmt.Errorf("%d messages have passed, and the head is %v", passed, leases)
	}
	return took, err
}
