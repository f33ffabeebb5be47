package e2e

import (
	"fmt"
	"slices"
	"time"
)

// verdict is everything that is wrong: a member may be called for a message again
// after its 200 only where that was not recorded, and once for each kill that kept it
// from being recorded.
func (p *pair) verdict() []string {
	return append(p.facts.judge(func(id string) []string { return append(p.repeats(id), p.calledThoughDone(id)...) }), p.unrecorded()...)
}

// calledThoughDone names the calls of a message that the store had done. That of a call
// which was answered after this one began does not count: the handler may look late. Nor
// can one that reads a call after the death of who sent it tell when that was.
func (p *pair) calledThoughDone(id string) (wrong []string) {
	calls := p.facts.calls[id]
	for _, c := range calls {
		before := func(e *call) bool { return e.answered && e.ended.Before(c.began) }
		if c.recorded && slices.ContainsFunc(calls, before) && !p.readLate(c) {
			wrong = append(wrong, fmt.Sprintf("recorded: %s (%s) is called for by %s, and the store has it done: %s", id, p.facts.accepted[id], c.life, p.facts.timeline(id)))
		}
	}
	return wrong
}

func (p *pair) repeats(id string) (wrong []string) {
	var used []kill
	for earlier, later := range p.facts.afterA200(id) {
		i := slices.IndexFunc(p.facts.kills, func(k kill) bool {
			return p.hit(k, earlier) && k.from.Before(later.began) && !slices.Contains(used, k)
		})
		if i < 0 {
			wrong = append(wrong, fmt.Sprintf("repeat: %s (%s) was called for %v after its 200, and no kill explains it: %s",
				id, p.facts.accepted[id], later.began.Sub(earlier.ended).Round(time.Millisecond), p.facts.timeline(id)))
			continue
		}
		used = append(used, p.facts.kills[i])
	}
	return wrong
}

// readLate reports that the life of the sidecar that sent the call was killed before its
// handler read it: it may be from before another one's call, and that one's done.
func (p *pair) readLate(c *call) bool {
	return slices.ContainsFunc(p.facts.kills, func(k kill) bool {
		return k.name == c.by && k.from.Before(c.began) && p.facts.calledBefore(c.life, k.from)
	})
}

// calledBefore reports that a life of a sidecar had called for something by then.
func (h *history) calledBefore(life string, at time.Time) bool {
	for _, calls := range h.calls {
		if slices.ContainsFunc(calls, func(c *call) bool { return c.life == life && c.began.Before(at) }) {
			return true
		}
	}
	return false
}

// afterA200 yields each call that followed one that was answered 200 in time. Those that
// follow a failure are free.
func (h *history) afterA200(id string) func(yield func(earlier, later *call) bool) {
	return func(yield func(earlier, later *call) bool) {
		calls := h.calls[id]
		for i := 1; i < len(calls); i++ {
			earlier := calls[i-1]
			if earlier.answered && earlier.ended.Sub(earlier.began) < surelyInTime && !yield(earlier, calls[i]) {
				return
			}
		}
	}
}

// countRepeated is how many calls followed a 200.
func (p *pair) countRepeated() (n int) {
	p.facts.mu.Lock()
	defer p.facts.mu.Unlock()
	for id := range p.facts.calls {
		for range p.facts.afterA200(id) {
			n++
		}
	}
	return n
}

// hit: who called, its application, or the store was killed, or was away, about when
// the call was answered.
func (p *pair) hit(k kill, c *call) bool {
	concerned := k.name == c.by || k.name == stock{}.Name() || k.name == "application of the "+c.by
	return concerned && k.from.Before(c.ended.Add(unrecorded)) && k.till.After(c.began.Add(-unrecorded))
}

// unrecorded names messages that the store has no done for, though no kill hit their last
// 200. It shows also that the witness looks in the right place.
func (p *pair) unrecorded() (wrong []string) {
	p.facts.mu.Lock()
	defer p.facts.mu.Unlock()
	for id, s := range p.facts.accepted {
		if is, known := p.marks.recorded(s.topic, id); is || !known {
			if !known {
				wrong = append(wrong, "the store does not answer for "+id)
			}
			continue
		}
		calls := p.facts.calls[id]
		last := slices.IndexFunc(calls, func(c *call) bool { return c.answered })
		if last >= 0 && !slices.ContainsFunc(p.facts.kills, func(k kill) bool { return p.hit(k, calls[last]) }) {
			wrong = append(wrong, fmt.Sprintf("unrecorded: the store has no done of %s: %s", id, p.facts.timeline(id)))
		}
	}
	return wrong
}

// overtaken names messages of an ordered subscription that were called for before the
// one before them, of their key, was answered 200, and are not excused.
func (h *history) overtaken(topic string, excused func(later *call) bool) (wrong []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for lane, ids := range h.lanes {
		if h.accepted[ids[0]].topic != topic {
			continue
		}
		for i := 1; i < len(ids); i++ {
			before, later := h.calls[ids[i-1]], h.calls[ids[i]]
			answered := slices.IndexFunc(before, func(c *call) bool { return c.answered })
			early := len(later) > 0 && (answered < 0 || later[0].began.Before(before[answered].ended))
			if early && !excused(later[0]) {
				wrong = append(wrong, fmt.Sprintf("order: lane %s: %s was called for before the 200 of %s: %s", lane, ids[i], ids[i-1], h.timeline(ids[i])))
			}
		}
	}
	return wrong
}

// never excuses nothing.
func never(*call) bool { return false }

// relocked is within which both members of a group may have a queue, after its broker
// was killed: it forgets who has it, and they lock it again (docs/guarantees.md).
const relocked = 10 * time.Second

// locksForgotten reports whether the broker had forgotten who has a queue, when a
// message was called for.
func (p *pair) locksForgotten(c *call) bool {
	return slices.ContainsFunc(p.facts.kills, func(k kill) bool {
		return k.name == shared.Brokers[0].Name() && k.from.Before(c.began) && c.began.Before(k.till.Add(relocked))
	})
}
