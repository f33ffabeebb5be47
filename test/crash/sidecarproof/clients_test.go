package sidecarproof

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// traffic is clients that post and cancel until enough was sent, told to stop,
// or their sidecar is gone.
type traffic struct {
	*journal

	sizes sizes
	until int // messages
	side  func() *client
	asked string // where the sidecar asks for transactions; "": nowhere
	gone  func() // what a client does when its sidecar does not answer; nil: it ends

	running sync.WaitGroup
	stopped chan struct{}
	mu      sync.Mutex
	untrue  []string // answers that nobody should get
}

const clients = 8

// start starts the clients. Their choices follow from the seed.
func (w *traffic) start(seed uint64) {
	w.stopped = make(chan struct{})
	for n := range uint64(clients) {
		w.running.Go(func() { w.work(rand.New(rand.NewPCG(seed, n))) })
	}
}

// stop waits for the clients' last answers.
func (w *traffic) stop() {
	close(w.stopped)
	w.running.Wait()
}

func (w *traffic) over() bool {
	select {
	case <-w.stopped:
		return true
	default:
		return w.len() >= w.until
	}
}

func (w *traffic) work(rng *rand.Rand) {
	var mine []int // accepted, newest last
	for !w.over() {
		accepted, err := w.act(rng, &mine)
		mine = append(mine, accepted...)
		if err == nil {
			continue
		}
		if w.gone == nil {
			return
		}
		w.gone()
	}
}

func (w *traffic) act(rng *rand.Rand, mine *[]int) (accepted []int, err error) {
	switch n := rng.IntN(100); {
	case n < 15 && len(*mine) > 0:
		last := len(*mine) - 1
		number := (*mine)[last]
		*mine = (*mine)[:last]
		return nil, w.cancel(number)
	case n < 22:
		return w.transact(rng)
	case n < 33:
		return w.batch(w.send(2 + rng.IntN(8)))
	default:
		return w.publish(w.send(1)[0])
	}
}

func (w *traffic) publish(number int) (accepted []int, err error) {
	r, err := w.side().publish(w.sizes.message(number))
	if err != nil {
		return nil, err
	}
	w.answered(number, r)
	if r.accepted() {
		accepted = []int{number}
	}
	return accepted, nil
}

func (w *traffic) batch(numbers []int) (accepted []int, err error) {
	var all []message
	for _, n := range numbers {
		all = append(all, w.sizes.message(n))
	}
	each, problem, err := w.side().batch(all)
	if err != nil {
		return nil, err
	}
	if !problem.accepted() {
		for _, n := range numbers {
			w.answered(n, problem)
		}
		return nil, nil
	}
	for i, n := range numbers {
		each[i].Status = problem.Status
		w.answered(n, each[i])
	}
	return numbers, nil
}

// answered notes an answer that came whole.
func (w *traffic) answered(number int, r receipt) {
	w.set(number, func(f *fate) {
		switch {
		case r.accepted():
			f.id = r.ID
		case r.refused():
			f.refused = true
		}
	})
	if r.Status >= 500 && r.Status != 503 {
		w.complain("message", number, r)
	}
}

func (w *traffic) cancel(number int) error {
	w.set(number, func(f *fate) { f.cancel = maybeCancelled })
	r, err := w.side().cancel(w.get(number).id)
	if err != nil {
		return err
	}
	w.set(number, func(f *fate) {
		switch {
		case r.Status == 200:
			f.cancel = isCancelled
		case r.Code == "already-sent", r.Code == "maybe-sent":
			f.cancel = notCancelled
		}
	})
	if r.Status != 200 && r.Status != 409 && r.Status != 503 {
		w.complain("cancel of message", number, r)
	}
	return nil
}

func (w *traffic) complain(what string, number int, r receipt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.untrue = append(w.untrue, fmt.Sprintf("%s %d was answered %+v", what, number, r))
}
