package spool

import "github.com/remora-mq/remora/message"

// The delayed messages of a topic may be meant for the broker's own timer
// (Options.Timer). One that is no farther away than that takes is pending at once, and
// who forwards it says when it is due. One that is farther away is delayed until then, by
// the wall clock, which is the broker's, too; and so are all, until they are due, while
// the broker has no timer. One with an ordering key never is for a timer: that would not
// keep its order.

// forTimer notes when a new message is due, if it is for a broker's timer.
func (s *Spool) forTimer(n *newMessage) {
	if n.delay <= 0 && n.deliverAt.IsZero() || n.msg.OrderingKey != "" {
		return
	}
	if n.delay <= 0 && !n.deliverAt.After(s.now()) { // it is due
		return
	}
	if ahead, is := s.opts.Timer(n.msg.Topic); !is || ahead <= 0 { // a delay that is kept here is no time of the wall clock
		return
	}
	n.timed = true
	n.msg.Timer = message.Timer{Delay: wholeMillis(n.delay)}
	if n.delay <= 0 {
		n.msg.Timer.At = n.deliverAt
	}
	n.size = n.msg.Size()
}

// timed finds out where a message waits that is for a broker's timer: for that, pending
// or delayed until it can be; false: it takes none now, or the message is due.
func (c *commit) timed(n *newMessage) bool {
	at := n.deliverAt
	if n.delay > 0 {
		at = c.now.Add(n.delay)
	}
	ahead, _ := c.s.opts.Timer(n.msg.Topic)
	if ahead <= 0 || !at.After(c.now) {
		return false
	}
	n.deliverAt = at
	if from := at.Add(-ahead); from.After(c.now) {
		n.due = due{clock: clockWall, at: uint64(from.UnixMilli())}
	}
	return true
}

// early reports whether the index leads to a delayed message before it is due: for a
// broker's timer.
func (d *delayed) early() bool {
	return d.due.clock == clockWall && d.due.at < millis(d.deliverAt)
}
