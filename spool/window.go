package spool

import (
	"container/heap"
	"time"

	"github.com/remora-mq/remora/message"
)

// window holds the pending messages of a lane that are in memory: the oldest
// ones. loadedTo is the last sequence that was brought in; atTail says that
// nothing on disk waits behind it, so that a new message may enter directly.
type window struct {
	head      *entry // ready list, by sequence
	tail      *entry
	last      *entry            // last one that was put into the middle of the list
	queued    int               // length of the ready list
	waiting   dueHeap           // retrying, by due time
	leased    map[uint64]*entry // by sequence
	lapse     time.Time         // no lease of them ends before it
	busy      map[string]int    // ordering keys that a lease or a retry holds back
	ready     map[string]int    // length of the ready list, by queue
	attempted map[string]int    // queues that have leases: one attempt at a time
	onHold    heldKeys          // ordering keys that an operator, or a dead letter, holds back
	bytes     int64             // cost of all entries
	aside     heldKeys          // sequences that wait on disk though they are below loadedTo, by ordering key
	freed     map[string]bool   // ordering keys of aside that may wait for nothing any more
	returning bool              // some of aside are being read
	loadedTo  uint64
	atTail    bool
	counted   bool // what is behind, in bytes: it was at the tail before
	behind    int64
	begun     bool // a first read was made
	loading   bool
	load      int64 // what the read under way may bring in
	back      int64 // and that of aside
}

func newWindow() window {
	return window{leased: map[uint64]*entry{}, busy: map[string]int{}, ready: map[string]int{}, attempted: map[string]int{}, onHold: heldKeys{}, aside: heldKeys{}, freed: map[string]bool{}}
}

// add brings e in as ready.
func (w *window) add(e *entry) {
	w.bytes += e.cost()
	e.lane.bound.enter(e)
	w.enqueue(e)
}

// enqueue puts e into the ready list at its place: at the end (new), or behind
// the one before (a batch that was returned), or found from the front.
func (w *window) enqueue(e *entry) {
	e.queued = true
	w.queued++
	e.queue = e.lane.bound.queueOf(e)
	w.ready[e.queue]++
	if w.tail == nil || w.tail.msg.Seq < e.msg.Seq {
		w.link(w.tail, e, nil)
		return
	}
	at := w.head
	if w.last != nil && w.last.msg.Seq < e.msg.Seq {
		at = w.last
	}
	w.last = e
	for at.msg.Seq < e.msg.Seq {
		at = at.next
	}
	w.link(at.prev, e, at)
}

func (w *window) link(prev, e, next *entry) {
	e.prev, e.next = prev, next
	if prev == nil {
		w.head = e
	} else {
		prev.next = e
	}
	if next == nil {
		w.tail = e
	} else {
		next.prev = e
	}
}

func (w *window) dequeue(e *entry) {
	if !e.queued {
		return
	}
	if w.last == e {
		w.last = e.prev
	}
	if e.prev == nil {
		w.head = e.next
	} else {
		e.prev.next = e.next
	}
	if e.next == nil {
		w.tail = e.prev
	} else {
		e.next.prev = e.prev
	}
	e.prev, e.next, e.queued = nil, nil, false
	w.queued--
	w.notReady(e)
}

// hold keeps the later messages of e's ordering key back until release.
func (w *window) hold(e *entry) {
	if k := e.msg.OrderingKey; k != "" {
		w.busy[k]++
	}
}

func (w *window) release(e *entry) {
	k := e.msg.OrderingKey
	if k == "" {
		return
	}
	if w.busy[k]--; w.busy[k] <= 0 {
		delete(w.busy, k)
	}
}

// remove takes e out for good.
func (w *window) remove(e *entry) {
	w.dequeue(e)
	if w.leased[e.msg.Seq] == e {
		w.takeBack(e)
		w.release(e)
	}
	if e.state == message.StateRetrying && w.waiting.remove(e) {
		w.release(e)
	}
	w.bytes -= e.cost()
	e.lane.bound.leave(e, !e.lane.window.atTail || len(e.lane.window.aside[e.msg.OrderingKey]) > 0)
	w.free(e.msg.OrderingKey)
}

// dueHeap orders waiting entries by due time.
type dueHeap []*entry //nolint:recvcheck // as container/heap shows it

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].msg.Seq < h[j].msg.Seq
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(*entry)) } //nolint:errcheck // only entries are pushed
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}

func (h *dueHeap) remove(e *entry) bool {
	for i, x := range *h {
		if x == e {
			heap.Remove(h, i)
			return true
		}
	}
	return false
}

// next returns when the first entry is due; ok is false when none waits.
func (h dueHeap) next() (at time.Time, ok bool) {
	if len(h) == 0 {
		return time.Time{}, false
	}
	return h[0].due, true
}
