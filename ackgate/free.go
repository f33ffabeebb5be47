package ackgate

import "sync"

// freeMost bounds how many messages are remembered.
const freeMost = 10_000

// freeReturns remembers of messages how many of their redeliveries cost no
// attempt, though the broker counts them all. It is forgotten by a restart, and
// not known to other sidecars: they count such a redelivery as an attempt.
type freeReturns struct {
	mu    sync.Mutex
	n     map[string]int
	order []string // of their first, oldest first
}

func newFreeReturns() *freeReturns { return &freeReturns{n: map[string]int{}} }

func (f *freeReturns) of(identity string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n[identity]
}

// sent notes a send-back of a message that had so many free ones before.
func (f *freeReturns) sent(identity string, before int, costs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known := f.n[identity]
	switch {
	case costs && !known:
		return
	case costs:
		f.n[identity] = before
		return
	case !known:
		f.order = append(f.order, identity)
	}
	f.n[identity] = before + 1
	for len(f.order) > freeMost {
		delete(f.n, f.order[0])
		f.order = f.order[1:]
	}
}

// forget drops what is known of a message that is a dead letter now: its attempts
// count from one again.
func (f *freeReturns) forget(identity string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.n[identity]; known {
		f.n[identity] = 0
	}
}
