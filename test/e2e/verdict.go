package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// unrecorded is how long before a kill a 200 may have been answered and not
// have been recorded, on a machine that is busy.
const unrecorded = 5 * time.Second

// verdict is everything that is wrong with a history. consumer is the name of
// the sidecar whose kills may cause a repeated call.
func (h *history) verdict(consumer string) []string {
	return h.judge(func(id string) []string { return h.repeats(consumer, id) })
}

// judge is what is wrong with what was handled, and with its repeats.
func (h *history) judge(repeats func(id string) []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	wrong := slices.Clone(h.wrong)
	sent := map[string]*call{}
	for id, s := range h.accepted {
		c := s.full()
		sent[id] = &call{digest: c.digest(), shown: c.String()}
		if !h.done[id] {
			wrong = append(wrong, fmt.Sprintf("lost: %s, accepted as %s, was never handled (%d calls)", s, id, len(h.calls[id])))
		}
	}
	for id, calls := range h.calls {
		want, known := sent[id]
		if !known {
			wrong = append(wrong, fmt.Sprintf("phantom: %s was delivered and never accepted", id))
			continue
		}
		for _, c := range calls {
			if c.digest != want.digest {
				wrong = append(wrong, fmt.Sprintf("altered: message %d, %s\n  sent:      %s\n  delivered: %s", h.accepted[id].number, id, want.shown, c.shown))
			}
		}
		wrong = append(wrong, repeats(id)...)
	}
	slices.Sort(wrong)
	return wrong
}

// repeats names calls of a message that followed a 200 for it, unless a kill
// explains that the 200 was not recorded.
func (h *history) repeats(consumer, id string) (wrong []string) {
	for earlier, later := range h.repeated(id) {
		if !h.explained(consumer, earlier, later) {
			wrong = append(wrong, fmt.Sprintf("repeat: %s (%s) was called for %v after its 200, and no kill explains it: %s",
				id, h.accepted[id], later.began.Sub(earlier.ended).Round(time.Millisecond), h.timeline(id)))
		}
	}
	return wrong
}

// timeline tells when a message was called for, and when something was killed.
func (h *history) timeline(id string) string {
	var text strings.Builder
	first := h.calls[id][0].began
	since := func(t time.Time) time.Duration { return t.Sub(first).Round(time.Millisecond) }
	for _, c := range h.calls[id] {
		fmt.Fprintf(&text, "call of %s %v to %v (200: %v); ", c.life, since(c.began), since(c.ended), c.answered)
	}
	for _, k := range h.kills {
		fmt.Fprintf(&text, "%s killed %v to %v; ", k.name, since(k.from), since(k.till))
	}
	return strings.TrimSuffix(text.String(), "; ")
}

// repeated yields each call that began after another one of the same message
// had begun that was answered 200 in time.
func (h *history) repeated(id string) func(yield func(earlier, later *call) bool) {
	return func(yield func(earlier, later *call) bool) {
		var answered *call
		for _, c := range h.calls[id] {
			if answered != nil && !yield(answered, c) {
				return
			}
			if c.answered && c.ended.Sub(c.began) < surelyInTime {
				answered = c
			}
		}
	}
}

// explained: another life of the consumer called again, and the earlier one was
// killed about when its call was answered. That may be after the kill: what it
// had sent was still to be read.
func (h *history) explained(consumer string, earlier, later *call) bool {
	return earlier.life != later.life && slices.ContainsFunc(h.kills, func(k kill) bool {
		return k.name == consumer && k.from.Before(earlier.ended.Add(unrecorded)) &&
			k.till.After(earlier.began.Add(-unrecorded)) && k.from.Before(later.began)
	})
}

// countRepeated is how many calls were repeats after a 200.
func (h *history) countRepeated() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.calls {
		for range h.repeated(id) {
			n++
		}
	}
	return n
}

// disorder names lanes whose messages first appeared at the broker in another
// order than they were accepted in.
func (h *history) disorder(copies []stored) (wrong []string) {
	first := firstAppearances(copies)
	h.mu.Lock()
	defer h.mu.Unlock()
	for lane, ids := range h.lanes {
		for i, id := range ids {
			at, is := first[id]
			if !is {
				wrong = append(wrong, fmt.Sprintf("lane %s: the broker has no %s (%s)", lane, id, h.accepted[id]))
				continue
			}
			if i == 0 {
				continue
			}
			before := first[ids[i-1]]
			if before.queue != at.queue || before.offset >= at.offset {
				wrong = append(wrong, fmt.Sprintf("lane %s: %s first appeared at %v, its predecessor %s at %v", lane, id, at, ids[i-1], before))
			}
		}
	}
	return wrong
}

// strangers names messages at the broker that were never accepted.
func (h *history) strangers(copies []stored) (wrong []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range copies {
		if h.accepted[c.id] == nil {
			wrong = append(wrong, fmt.Sprintf("phantom: the broker has %s, which was never accepted", c.id))
		}
	}
	return wrong
}

// briefly joins the first few.
func briefly(wrong []string) string {
	const most = 20
	if len(wrong) > most {
		wrong = append(wrong[:most:most], fmt.Sprintf("… and %d more", len(wrong)-most))
	}
	return strings.Join(wrong, "\n")
}
