package sidecar

import (
	"time"

	"github.com/remora-mq/remora/ackgate"
)

const (
	// blockedLong is how long an ordering key waits for a message before that is a
	// condition: a retry or two are none.
	blockedLong = time.Minute
	// blockedMost bounds the answer of /v1/status.
	blockedMost = 100
)

// blocked are the messages that ordering keys of subscriptions wait for.
func (s *Sidecar) blocked() []ackgate.Blocked {
	all := orEmpty(s.leases.Blocked())
	return all[:min(len(all), blockedMost)]
}

// alarming reports whether one of them will not be done by itself soon.
func alarming(all []ackgate.Blocked) bool {
	for _, b := range all {
		if b.Exhausted || time.Since(b.Since) > blockedLong {
			return true
		}
	}
	return false
}
