package golden

import (
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// ofTimer is the topic whose delayed messages are for the broker's timer, which takes
// them an hour ahead: one that waits for it, and one that is farther away.
const ofTimer = "reminders"

func timer(topic string) (ahead time.Duration, is bool) { return time.Hour, topic == ofTimer }

func (h *house) handOver() {
	h.t.Helper()
	for n, delay := range []time.Duration{time.Minute, 100 * time.Hour} {
		h.append(spool.Draft{Message: message.Message{Topic: ofTimer, Body: []byte{byte(n + 1)}}, Delay: delay})
	}
}

// take has what is for the timer confirmed, where there is any.
func (h *house) take() {
	h.t.Helper()
	if h.spool.Ledger().Topics[ofTimer].InSpool.Pending == 0 {
		return
	}
	leases := h.lease(ofTimer, 1)
	if at := leases[0].TimerAt(); !at.Equal(leases[0].AcceptedAt.Add(time.Minute)) {
		h.t.Errorf("it is due at %v, accepted at %v", at, leases[0].AcceptedAt)
	}
	h.spool.Confirm(leases, []message.Confirmation{{OffsetMessageID: "offset"}})
}
