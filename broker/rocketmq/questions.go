package rocketmq

import (
	"context"
	"hash/maphash"
	"math"
	"slices"
	"sync"

	"github.com/remora-mq/remora/broker"
)

// questions of a broker wait for their answer: of each half message the newest, which
// tells where it is now, in the turn of the first. A broker asks for all half messages
// again and again, in one order, however many it has and however slowly it is answered.
//
// At most so many wait. Those of more half messages are a sample by a hash: neither who
// is asked for first nor who is asked for last has the places round by round. After so
// many answers the sample is another one.
//
// Of a transaction one question is being answered at a time, also where its half
// message was replaced: the next one waits for it.
type questions struct {
	most int
	put  chan struct{} // has room for one: there are some

	mu       sync.Mutex
	waiting  map[halfName]broker.HalfCheck
	turns    []halfName
	busy     map[string]bool // transactions of which one is being answered
	seed     maphash.Seed
	highest  uint64 // hash of the sample
	answered int    // since the sample was made
}

// halfName is what all questions for a half message, wherever it is, have in common.
type halfName struct {
	half           broker.Half
	group, message string
}

func newQuestions(most int) *questions {
	q := &questions{most: most, put: make(chan struct{}, 1), waiting: map[halfName]broker.HalfCheck{}, busy: map[string]bool{}}
	q.sampleAnew()
	return q
}

func (q *questions) sampleAnew() {
	q.seed, q.highest, q.answered = maphash.MakeSeed(), math.MaxUint64, 0
}

// add reports how many questions were dropped for want of a place.
func (q *questions) add(c broker.HalfCheck) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	name := halfName{c.Half, c.Place.Group, c.Place.MessageID}
	_, known := q.waiting[name]
	for !known && q.sampled(name) && len(q.waiting) >= q.most {
		q.highest /= 2
		dropped += q.thin()
	}
	switch {
	case known:
	case !q.sampled(name):
		return dropped + 1
	default:
		q.turns = append(q.turns, name)
	}
	q.waiting[name] = c
	q.tell()
	return dropped
}

// tell wakes who waits for a question.
func (q *questions) tell() {
	select {
	case q.put <- struct{}{}:
	default:
	}
}

func (q *questions) sampled(name halfName) bool {
	return maphash.Comparable(q.seed, name) <= q.highest
}

// thin drops what is not in the sample any more.
func (q *questions) thin() (dropped int) {
	q.turns = slices.DeleteFunc(q.turns, func(name halfName) bool {
		if q.sampled(name) {
			return false
		}
		delete(q.waiting, name)
		dropped++
		return true
	})
	return dropped
}

// next waits for a question; done has to follow. One goroutine calls it.
func (q *questions) next(ctx context.Context) (broker.HalfCheck, error) {
	for ctx.Err() == nil {
		if c, ok := q.take(); ok {
			return c, nil
		}
		select {
		case <-q.put:
		case <-ctx.Done():
		}
	}
	return broker.HalfCheck{}, ctx.Err()
}

func (q *questions) take() (c broker.HalfCheck, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.turns) == 0 {
		q.sampleAnew()
		return c, false
	}
	i := slices.IndexFunc(q.turns, func(name halfName) bool { return !q.busy[name.half.Transaction] })
	if i < 0 {
		return c, false
	}
	name := q.turns[i]
	if i == 0 {
		q.turns = q.turns[1:]
	} else {
		q.turns = slices.Delete(q.turns, i, i+1)
	}
	c = q.waiting[name]
	delete(q.waiting, name)
	q.busy[name.half.Transaction] = true
	if q.answered++; q.answered >= q.most {
		q.sampleAnew()
	}
	return c, true
}

// done says that a question is answered, or will not be.
func (q *questions) done(c broker.HalfCheck) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, c.Transaction)
	q.tell()
}
