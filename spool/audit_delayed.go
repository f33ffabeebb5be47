package spool

import (
	"errors"
	"fmt"
)

// delayed counts a delayed message, and looks for its place in the index.
func (a *auditor) delayed(k, v []byte) error {
	seq := tail64(k, len(delayedPrefix))
	t := a.topics[tail32(k, len(delayedPrefix)+8)]
	d, err := decodeDelayed(v)
	if err != nil {
		return err
	}
	if t == nil || d.record.Seq != seq || d.record.Topic != t.lane.topic {
		return errors.New("a delayed message is filed under a wrong sequence or topic")
	}
	if a.settled.has(seq) {
		return errors.New("a delayed message is settled, and still there")
	}
	if d.half() {
		return errors.Join(a.half(t, &d), a.hold(t, d.record))
	}
	t.delayed++
	if _, err := a.r.Get(d.due.key()); err != nil {
		return fmt.Errorf("find when it is due: %w", err)
	}
	return a.hold(t, d.record)
}

// compareDelayed compares what was read of delayed messages with the counter.
func (a *auditor) compareDelayed(t *auditTopic) {
	if t.delayed != t.counts.delayed {
		a.notef("topic %q: the ledger holds %d delayed, %d were read", t.lane.topic, t.counts.delayed, t.delayed)
	}
}
