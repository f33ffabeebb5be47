package spool

import (
	"github.com/remora-mq/remora/message"
)

// Counts is the ledger of a topic, or of all:
//
//	Accepted = Confirmed + Cancelled + RolledBack + Discarded + Lost + Unattributed + what InSpool sums up to
//
// Unattributed are settled, and it is not known any more how, or of which topic
// they were: their counters were damaged. Only the total of all has them.
type Counts struct { //nolint:recvcheck // add is what sums, all else reads
	Accepted   uint64  `json:"accepted"`
	Confirmed  uint64  `json:"confirmed"`
	Cancelled  uint64  `json:"cancelled"`
	RolledBack uint64  `json:"rolled_back"`
	Discarded  uint64  `json:"discarded"`
	Lost       uint64  `json:"lost"`
	InSpool    InSpool `json:"in_spool"`
	Bytes      uint64  `json:"bytes"`     // of all that is held
	Resent     uint64  `json:"resent"`    // confirmed messages that were sent again and confirmed again, each time counted
	Resending  uint64  `json:"resending"` // confirmed messages that are to be sent again
	OnHold     uint64  `json:"held"`      // of those pending: kept from being forwarded by an operator

	DelayedOnHold uint64 `json:"held_delayed"` // of those delayed: kept from falling due by an operator

	Unattributed uint64 `json:"unattributed,omitempty"`
}

// InSpool counts held messages by state.
type InSpool struct {
	Half     uint64 `json:"half"` // of transactions that are not decided: undecided ones too
	Delayed  uint64 `json:"delayed"`
	Pending  uint64 `json:"pending"`
	InFlight uint64 `json:"in_flight"`
	Retrying uint64 `json:"retrying"`
	Dead     uint64 `json:"dead"`
}

// Held is the sum over all states.
func (n InSpool) Held() uint64 {
	return n.Half + n.Delayed + n.Pending + n.InFlight + n.Retrying + n.Dead
}

func (c *Counts) add(d Counts) {
	c.Accepted += d.Accepted
	c.Confirmed += d.Confirmed
	c.Cancelled += d.Cancelled
	c.RolledBack += d.RolledBack
	c.Discarded += d.Discarded
	c.Lost += d.Lost
	c.Bytes += d.Bytes
	c.OnHold += d.OnHold
	c.DelayedOnHold += d.DelayedOnHold
	c.Unattributed += d.Unattributed
	c.Resent += d.Resent
	c.Resending += d.Resending
	c.InSpool.Half += d.InSpool.Half
	c.InSpool.Delayed += d.InSpool.Delayed
	c.InSpool.Pending += d.InSpool.Pending
	c.InSpool.InFlight += d.InSpool.InFlight
	c.InSpool.Retrying += d.InSpool.Retrying
	c.InSpool.Dead += d.InSpool.Dead
}

// Ledger is the counters as they are kept with the messages, in one view. That
// they are true is what Audit checks.
type Ledger struct {
	Total  Counts            `json:"total"`
	Topics map[string]Counts `json:"topics"`
}

// Ledger returns the counters. What is confirmed and not yet synced still
// counts as held: a crash now would send it again.
func (s *Spool) Ledger() Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger()
}

// Total is that of the ledger, told alone: where topics are many nobody waits for all of
// them. The counts of each topic are of one moment, and balance, so their sum does; but the
// topics are not of the same moment, which they are in that of [Spool.Ledger].
func (s *Spool) Total() (total Counts) {
	s.eachLane(func(l *lane) { total.add(l.ledger()) })
	s.mu.Lock()
	defer s.mu.Unlock()
	total.add(s.damage.counts())
	return total
}

// TopicLedger is the ledger of one topic; zero: nothing of it was ever accepted.
func (s *Spool) TopicLedger(topic string) (c Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[topic]; l != nil {
		c = l.ledger()
	}
	return c
}

// ledger is Ledger. s.mu is held.
func (s *Spool) ledger() Ledger {
	led := Ledger{Topics: make(map[string]Counts, len(s.lanes))}
	for topic, l := range s.lanes {
		c := l.ledger()
		led.Topics[topic] = c
		led.Total.add(c)
	}
	led.Total.add(s.damage.counts())
	return led
}

// counts are of what no topic counts.
func (r *damageReports) counts() Counts {
	lost, settled := r.unattributed()
	return Counts{Accepted: lost + settled, Lost: lost, Unattributed: settled}
}

func (l *lane) ledger() Counts {
	n := &l.counts
	c := Counts{
		Accepted: n.accepted - n.moved, Confirmed: n.confirmed, Cancelled: n.cancelled, RolledBack: n.rolledBack,
		Discarded: n.discarded, Lost: n.lost, Bytes: n.bytes,
		OnHold: uint64(l.onHold), DelayedOnHold: uint64(l.delayedOnHold), Resent: l.resent, Resending: uint64(l.copies.left),
	}
	c.InSpool.Dead, c.InSpool.Delayed, c.InSpool.Half = n.dead, n.delayed, n.half
	c.InSpool.Retrying = uint64(len(l.window.waiting))
	c.InSpool.InFlight = uint64(len(l.window.leased))
	if volatile := c.InSpool.Held(); n.held() > volatile {
		c.InSpool.Pending = n.held() - volatile
	}
	return c
}

// State counts the messages of one state over all topics. Those that are undecided
// are counted as half.
func (c Counts) State(s message.State) uint64 {
	switch s {
	case message.StateHalf:
		return c.InSpool.Half
	case message.StateDelayed:
		return c.InSpool.Delayed
	case message.StatePending:
		return c.InSpool.Pending
	case message.StateInFlight:
		return c.InSpool.InFlight
	case message.StateRetrying:
		return c.InSpool.Retrying
	case message.StateDead:
		return c.InSpool.Dead
	case message.StateConfirmed:
		return c.Confirmed
	case message.StateCancelled:
		return c.Cancelled
	case message.StateRolledBack:
		return c.RolledBack
	case message.StateDiscarded:
		return c.Discarded
	case message.StateLost:
		return c.Lost
	default:
		return 0
	}
}
