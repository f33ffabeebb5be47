package spool

// What a window knows of the queues that its messages are bound to: one attempt
// at a time is made at each.

// give and takeBack tell of an entry that is leased, and is not any more.
func (w *window) give(e *entry) {
	w.leased[e.msg.Seq] = e
	if e.queue != "" {
		w.attempted[e.queue]++
	}
}

func (w *window) takeBack(e *entry) {
	delete(w.leased, e.msg.Seq)
	if e.queue == "" {
		return
	}
	if w.attempted[e.queue]--; w.attempted[e.queue] <= 0 {
		delete(w.attempted, e.queue)
	}
}

func (w *window) notReady(e *entry) {
	if w.ready[e.queue]--; w.ready[e.queue] <= 0 {
		delete(w.ready, e.queue)
	}
}

// allAttempted reports whether an attempt is made at every queue that something
// is ready for: thousands may be, and none of them can be leased.
func (w *window) allAttempted() bool {
	for queue := range w.ready {
		if queue == "" || w.attempted[queue] == 0 {
			return false
		}
	}
	return true
}

// waits reports whether e, which is ready, may not be leased yet.
func (w *window) waits(e *entry) bool {
	return w.busy[e.msg.OrderingKey] > 0 || w.attempted[e.queue] > 0 || w.onHold.before(e.msg) || w.aside.before(e.msg)
}

// goTogether reports whether two messages may be of one attempt.
func goTogether(a, b *entry) bool {
	return a.queue == b.queue && (a.queue != "" || a.msg.OrderingKey == b.msg.OrderingKey)
}

// unsureTogether attempts of a message may end unknown before it is leased alone. The
// broker may fail at it, and at each that is sent with it: one attempt, of several
// messages, tells little of that.
const unsureTogether = 2

func (e *entry) alone() bool { return e.unsure >= unsureTogether }

// joins reports whether e may be leased with what was picked.
func (k *lateKeys) joins(picked []*entry, e *entry) bool {
	switch {
	case len(picked) == 0:
		return true
	case picked[0].alone() || !goTogether(picked[0], e):
		return false
	case e.alone():
		k.pass(e)
		return false
	}
	return true
}

// requeue finds the queues of all that is ready anew.
func (w *window) requeue() {
	clear(w.ready)
	for e := w.head; e != nil; e = e.next {
		e.queue = e.lane.bound.queueOf(e)
		w.ready[e.queue]++
	}
}

// each visits all entries.
func (w *window) each(visit func(*entry)) {
	for e := w.head; e != nil; e = e.next {
		visit(e)
	}
	for _, e := range w.waiting {
		visit(e)
	}
	for _, e := range w.leased {
		visit(e)
	}
}
