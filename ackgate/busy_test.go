package ackgate

import (
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
)

// TestBusyBrokerTakesAMessageBackSoon: that the broker had no time for one send-back
// leaves no copy, and holds nothing up for a minute, neither that message nor others.
func TestBusyBrokerTakesAMessageBackSoon(t *testing.T) {
	bubble(t, func(s *scene) {
		ids := []string{"a", "b", "c", "d", "e"}
		s.answers = times(len(ids), rejected)
		s.asked = 100 * time.Millisecond // so that others come meanwhile
		s.backs = times(7, fmt.Errorf("send back: %w", broker.ErrBusy))
		for _, id := range ids {
			s.deliver = append(s.deliver, delivery(id))
		}
		s.run(30*time.Second, s.deliver...)
		s.wantAcks(deadLetter, len(ids))
	})
}

// TestBusyBrokerIsSpared: while it has no time it is asked less and less often, for
// one message at a time.
func TestBusyBrokerIsSpared(t *testing.T) {
	bubble(t, func(s *scene) {
		ids := []string{"a", "b", "c", "d", "e"}
		s.answers = times(len(ids), rejected)
		s.backs = times(10000, fmt.Errorf("send back: %w", broker.ErrBusy))
		for _, id := range ids {
			s.deliver = append(s.deliver, delivery(id))
		}
		s.run(30*time.Minute, s.deliver...)
		asked := 0
		for _, id := range ids {
			asked += s.count("dead refused " + id)
		}
		if asked < 30 || asked > 70 {
			t.Errorf("asked %d times in 30 minutes", asked)
		}
	})
}
