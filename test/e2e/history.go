package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// history is what posters, handler and the one who kills have seen, on the
// test's clock. What it means is judged in verdict.go.
type history struct {
	mu       sync.Mutex
	accepted map[string]*spec    // by message ID
	ids      map[int]string      // by number
	lanes    map[string][]string // by lane: IDs in the order of their accepts
	calls    map[string][]*call  // by message ID, in the order of their begins
	by       map[string]int      // calls of each sidecar
	done     map[string]bool     // was answered 200
	kills    []kill
	wrong    []string
	n        counts
	changed  chan struct{} // closed and replaced at each change
}

// counts are shown at the end.
type counts struct {
	accepted, waited, batches, replays, refused, torn, noAnswer, busy int
	handled, calls, failed                                            int
}

// call is one call of the handler.
type call struct {
	digest       digest
	shown        string    // its content without the body
	by, life     string    // the sidecar that called, and which of its lives
	began, ended time.Time // ended is zero while it runs
	answered     bool      // with a whole 200
	recorded     bool      // the store had the message done when the handler looked
}

// kill is the time from before a SIGKILL until the process was gone.
type kill struct {
	name       string
	from, till time.Time
}

func newHistory() *history {
	return &history{
		accepted: map[string]*spec{}, ids: map[int]string{}, lanes: map[string][]string{},
		calls: map[string][]*call{}, by: map[string]int{}, done: map[string]bool{}, changed: make(chan struct{}),
	}
}

// note changes the history and wakes those that wait.
func (h *history) note(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	close(h.changed)
	h.changed = make(chan struct{})
}

// await returns when the condition holds; it is asked under the lock.
func (h *history) await(ctx context.Context, what string, is func() bool) error {
	for {
		h.mu.Lock()
		met, changed := is(), h.changed
		h.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
		}
	}
}

// look reads the counts.
func (h *history) look() counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// complain notes what should not have been.
func (h *history) complain(format string, args ...any) {
	h.note(func() { h.wrong = append(h.wrong, fmt.Sprintf(format, args...)) })
}

// accept notes a 2xx. Told twice, it must be the same message ID.
func (h *history) accept(s *spec, id string) {
	h.note(func() {
		switch known, told := h.ids[s.number]; {
		case s.refusal != 0:
			h.wrong = append(h.wrong, fmt.Sprintf("%s was accepted", s))
		case told && known != id:
			h.wrong = append(h.wrong, fmt.Sprintf("%s was accepted as %s and as %s", s, known, id))
		case told:
			h.n.replays++
		case h.accepted[id] != nil:
			h.wrong = append(h.wrong, fmt.Sprintf("%s and %s got the same ID %s", s, h.accepted[id], id))
		default:
			h.addAccepted(s, id)
		}
	})
}

func (h *history) addAccepted(s *spec, id string) {
	h.ids[s.number], h.accepted[id] = id, s
	h.n.accepted++
	if lane := s.lane(); lane != "" {
		h.lanes[lane] = append(h.lanes[lane], id)
	}
	if h.done[id] {
		h.n.handled++
	}
}

// complaints are those so far.
func (h *history) complaints() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.wrong)
}

// begin notes a call, and tells which one of its message it is, from 1.
func (h *history) begin(id, by, life string, got content) (c *call, nth int) {
	c = &call{digest: got.digest(), shown: got.String(), by: by, life: life, began: time.Now()}
	h.note(func() {
		h.n.calls++
		h.by[by]++
		h.calls[id] = append(h.calls[id], c)
		nth = len(h.calls[id])
	})
	return c, nth
}

// end notes how a call was answered; before a 200 is written, so that no 200 is
// ahead of its note.
func (h *history) end(id string, c *call, answered bool) {
	h.note(func() {
		c.ended, c.answered = time.Now(), answered
		if !answered {
			h.n.failed++
			return
		}
		if h.accepted[id] != nil && !h.done[id] {
			h.n.handled++
		}
		h.done[id] = true
	})
}

// allHandled: everything accepted so far was answered 200.
func (h *history) allHandled() bool { return h.n.handled == h.n.accepted }

// missing names up to n messages that were accepted and not handled.
func (h *history) missing(n int) (ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.accepted {
		if !h.done[id] && len(ids) < n {
			ids = append(ids, id)
		}
	}
	return ids
}
