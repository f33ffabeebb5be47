package rocketmq

import (
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	// keptFor is how long it is remembered that a message may be acked whose member had
	// left: another one fetches it again, unless another process does.
	keptFor = 10 * time.Minute
	// rejoinTime is how long after one member has left the next one joins and finds the
	// group where it was, and how long after that it reads a queue that is its own.
	rejoinTime = 30 * time.Second
)

// kept are the deliveries that may be acked, and whose member had left before it could
// do that. The copy that the next member fetches is acked for them without being
// delivered, if it is there because of that. It may be there because the group was set
// back meanwhile by an operator, who wants it handled again. What is not sure to go on
// where the former member was is delivered. Its fields belong to receivers.mu.
type kept struct {
	all          map[spot]*delivering
	left, joined time.Time // of the former and this member
	readers      map[primitive.MessageQueue]*primitive.MessageQueue
}

func newKept() kept {
	return kept{all: map[spot]*delivering{}, readers: map[primitive.MessageQueue]*primitive.MessageQueue{}}
}

// leaves notes that a member leaves the group.
func (r *receivers) leaves() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept.left = time.Now()
}

// joins notes that the next one is about to join.
func (r *receivers) joins() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept.joined = time.Now()
	clear(r.kept.readers)
	if time.Since(r.kept.left) > rejoinTime {
		r.drop(func(spot, *delivering) bool { return true })
	}
}

// reads notes what was fetched of a queue, before any of it is delivered. by is the
// client's own copy of the queue's name, another one whenever it begins to read at the
// group's place (consumer.go:704-744).
func (r *receivers) reads(by *primitive.MessageQueue, msgs []*primitive.MessageExt) {
	if len(msgs) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.kept.readers[*by]
	r.kept.readers[*by] = by
	if len(r.kept.all) == 0 {
		return
	}
	anew := before != by && (before != nil || time.Since(r.kept.joined) > rejoinTime)
	r.drop(func(of spot, one *delivering) bool {
		passed := !one.fetched && of.offset < msgs[0].QueueOffset // by who had the queue meanwhile
		return of.queue == *by && (anew || passed)
	})
	for _, m := range msgs {
		if one := r.kept.all[spotOf(*by, m)]; one != nil {
			one.fetched = true
		}
	}
}

// drop forgets some. r.mu is held.
func (r *receivers) drop(some func(spot, *delivering) bool) {
	for of, one := range r.kept.all {
		if some(of, one) {
			delete(r.kept.all, of)
			delete(r.all, of)
		}
	}
}
