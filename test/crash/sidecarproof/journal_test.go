package sidecarproof

import (
	"slices"
	"sync"
)

// fate is what a client knows of one message.
type fate struct {
	sent    bool
	refused bool   // answered with stored:false
	id      string // answered with 2xx; "": not answered, or unknown
	cancel  cancelled

	deal     string // ID of the transaction that it is of; "": none
	decision decision
}

// cancelled is how far a cancel came.
type cancelled int

const (
	notCancelled cancelled = iota
	maybeCancelled
	isCancelled // answered with 200
)

// owed reports whether the message must reach a handler.
func (f fate) owed() bool {
	return f.id != "" && f.cancel == notCancelled && (f.deal == "" || f.decision == isCommitted)
}

// possible reports whether the message may reach a handler.
func (f fate) possible() bool {
	return f.sent && !f.refused && f.cancel != isCancelled && (f.deal == "" || f.decision == isCommitted || f.decision == maybeCommitted)
}

// journal is what all clients know; a message's number is its index.
type journal struct {
	mu    sync.Mutex
	fates []fate
}

// send gives numbers to n messages, before they are sent.
func (j *journal) send(n int) (numbers []int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for range n {
		numbers = append(numbers, len(j.fates))
		j.fates = append(j.fates, fate{sent: true})
	}
	return numbers
}

func (j *journal) set(n int, change func(*fate)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.fates[n])
}

func (j *journal) get(n int) fate {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.fates[n]
}

// now returns a copy.
func (j *journal) now() []fate {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.fates)
}

func (j *journal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.fates)
}

// dealsOf counts the transactions by what is known of their decision.
func dealsOf(fates []fate) map[decision]int {
	all := map[decision]int{}
	for n, f := range fates {
		if f.deal == dealID(n) {
			all[f.decision]++
		}
	}
	return all
}

// totals counts the messages that were answered with 2xx, and of those the ones that
// are not owed any more, or not yet.
func totals(fates []fate) (accepted, cancelled int) {
	for _, f := range fates {
		if f.id != "" {
			accepted++
		}
		if f.cancel == isCancelled || f.id != "" && f.deal != "" && f.decision != isCommitted {
			cancelled++
		}
	}
	return accepted, cancelled
}
