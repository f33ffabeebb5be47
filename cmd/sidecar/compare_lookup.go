package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/remora-mq/remora/message"
)

// askedAtOnce is how many ranges of numbers a producer is asked for in a request.
const askedAtOnce = 500

// sentMessage is what a producer knows of a number.
type sentMessage struct {
	ID        string     `json:"id"`
	TopicSeq  uint64     `json:"topic_sequence"`
	State     string     `json:"state"`
	SettledAt *time.Time `json:"settled_at"`
	DeliverAt *time.Time `json:"deliver_at"`
}

// confirmed takes out what waits at its producer: many may only be on their way. A
// request reads all that the producer holds of the topic, however many ranges it names.
func (c *comparison) confirmed(ctx context.Context, p source, o *comparedOrigin, open spans) (spans, error) {
	if len(open) == 0 {
		return nil, nil
	}
	asked := open
	if len(open) > askedAtOnce {
		asked = spans{{open[0].first, open[len(open)-1].last}}
	}
	known, err := c.sent(ctx, p, o.Origin, asked, states(onItsWay))
	if err != nil {
		return nil, err
	}
	waits := make([]span, 0, len(known))
	for n := range known {
		waits = append(waits, span{n, n})
	}
	rest := open.minus(spansOf(waits))
	o.Waiting += open.count() - rest.count()
	return rest, nil
}

// lookUp asks the producer what became of numbers that nobody has seen handled, and
// judges each. Once no more is listed the rest is counted as missing without a look.
func (c *comparison) lookUp(ctx context.Context, p source, o *comparedOrigin, open spans) error {
	for len(open) > 0 {
		some := open[:min(len(open), askedAtOnce)]
		open = open[len(some):]
		if len(c.out.Missing) >= listedMissing {
			o.Missing += some.count()
			c.out.More += some.count()
			continue
		}
		known, err := c.sent(ctx, p, o.Origin, some, states(nil))
		if err != nil {
			return err
		}
		for _, s := range some {
			for n := s.first; n <= s.last; n++ {
				c.judge(o, n, known[n], p.since)
			}
		}
	}
	return nil
}

// sent finds messages in some states by their numbers; those that the producer does not
// know any more are not in the map.
func (c *comparison) sent(ctx context.Context, p source, origin string, some spans, in string) (map[uint64]*sentMessage, error) {
	query := url.Values{"topic": {c.topic}, "origin": {origin}, "numbers": {some.String()}, "state": {in}, "limit": {"1000"}}
	found := map[uint64]*sentMessage{}
	for {
		var page struct {
			Items []sentMessage `json:"items"`
			Next  string        `json:"next_cursor"`
		}
		if _, err := p.read(ctx, "/v1/messages?"+query.Encode(), &page); err != nil {
			return nil, fmt.Errorf("producer %s: %w", p.base, err)
		}
		for i := range page.Items {
			found[page.Items[i].TopicSeq] = &page.Items[i]
		}
		if page.Next == "" {
			return found, nil
		}
		query.Set("cursor", page.Next)
	}
}

// states names those that are chosen; nil: all.
func states(chosen func(message.State) bool) string {
	var names []string
	for _, s := range message.States() {
		if chosen == nil || chosen(s) {
			names = append(names, s.String())
		}
	}
	return strings.Join(names, ",")
}

// onItsWay reports a message that may yet be confirmed.
func onItsWay(s message.State) bool { return !s.Settled() && s != message.StateDead }

// judge says what it means that nobody has seen a number handled. m is nil when its
// producer does not know it any more. What was confirmed since the comparison began may
// lie at the broker, or have its handler called; and so may what the broker's timer had
// until then.
func (c *comparison) judge(o *comparedOrigin, n uint64, m *sentMessage, began time.Time) {
	missing := missingMessage{Origin: o.Origin, TopicSeq: n, Verdict: verdictMissing}
	var confirmed time.Time
	if m != nil {
		state, err := message.ParseState(m.State)
		switch {
		case err == nil && state == message.StateConfirmed:
			if o.comes(m, began) {
				return
			}
			missing.ID, missing.ConfirmedAt = m.ID, m.SettledAt
			if m.SettledAt != nil {
				confirmed = *m.SettledAt
			}
		case err == nil && !onItsWay(state):
			o.Exceptions++ // since its exceptions were read
			return
		default:
			o.Waiting++
			return
		}
	}
	if missing.Why = c.doubt(confirmed); missing.Why != "" {
		missing.Verdict = verdictMaybe
		o.Maybe++
	} else {
		o.Missing++
	}
	if len(c.out.Missing) == listedMissing {
		c.out.More++
		return
	}
	c.out.Missing = append(c.out.Missing, missing)
}

// comes counts a confirmed message that need not have reached a handler when the
// comparison began; false: it should have.
func (o *comparedOrigin) comes(m *sentMessage, began time.Time) bool {
	switch {
	case m.dueSince(began):
		o.NotDue++
		if m.DeliverAt.After(o.due) {
			o.due = *m.DeliverAt
		}
	case m.confirmedSince(began):
		o.Waiting++
	default:
		return false
	}
	return true
}

func (m *sentMessage) confirmedSince(at time.Time) bool {
	return !at.IsZero() && m.SettledAt != nil && !m.SettledAt.Before(at)
}

// dueSince reports a message that the broker's timer had when the comparison began.
func (m *sentMessage) dueSince(at time.Time) bool {
	return !at.IsZero() && m.DeliverAt != nil && !m.DeliverAt.Before(at)
}

// clocks is by how much the clocks of two machines may differ.
const clocks = time.Minute

// doubt is why a message that was confirmed at a time (zero: not known, as if long ago)
// may have been handled although nobody has a note of it; "": there is no reason.
func (c *comparison) doubt(confirmed time.Time) string {
	before := func(at time.Time) bool { return confirmed.Before(at.Add(clocks)) }
	for i, s := range c.streams {
		switch at := c.members[i].base; {
		case s.UnsureAt != nil && before(*s.UnsureAt):
			return fmt.Sprintf("%s may have forgotten notes from before %s", at, s.UnsureAt.Format(time.RFC3339))
		case before(s.Since.Add(-clocks)):
			return fmt.Sprintf("%s has no notes from before %s", at, s.Since.Format(time.RFC3339))
		}
	}
	return ""
}
