package spool

import (
	"fmt"

	"github.com/remora-mq/remora/message"
)

// expires counts a held message with a TTL, and looks for its place in the index.
func (a *auditor) expires(t *auditTopic, r message.Record) error {
	at := expiryOf(&r.Message)
	if at == 0 {
		return nil
	}
	t.expiring++
	if _, err := a.r.Get(due{clockTTL, at, r.Seq}.key()); err != nil {
		return fmt.Errorf("sequence %d: find when its TTL ends: %w", r.Seq, err)
	}
	return nil
}

// compareExpiring compares what was read of messages with a TTL with the counter.
func (a *auditor) compareExpiring(t *auditTopic) {
	if t.expiring != t.counts.expiring {
		a.notef("topic %q: the ledger holds %d with a TTL, %d were read", t.lane.topic, t.counts.expiring, t.expiring)
	}
}
