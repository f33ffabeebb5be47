package serve

import (
	"fmt"
	"time"
)

// Commits is what a server has synced since it started.
type Commits struct {
	Count uint64        `json:"count"`
	Took  time.Duration `json:"took_ns"` // all of them together
}

// Sub is what was synced since an earlier reading.
func (c Commits) Sub(earlier Commits) Commits {
	return Commits{Count: c.Count - earlier.Count, Took: c.Took - earlier.Took}
}

// Account is what a server says of all that it was sent.
type Account struct {
	Accepted  uint64 `json:"accepted"`
	Confirmed uint64 `json:"confirmed"`
}

// Check compares the account with what clients sent and saw answered. A figure
// of a server that lost a message is worth nothing.
func (a Account) Check(sent, taken uint64) error {
	switch {
	case a.Accepted < taken:
		return fmt.Errorf("%d messages were answered 202, and only %d accepted", taken, a.Accepted)
	case a.Accepted > sent:
		return fmt.Errorf("%d messages were accepted, and only %d sent", a.Accepted, sent)
	case a.Confirmed != a.Accepted:
		return fmt.Errorf("%d messages were accepted, and %d confirmed in the end", a.Accepted, a.Confirmed)
	}
	return nil
}
