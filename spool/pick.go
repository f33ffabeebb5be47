package spool

// maxPassed bounds how far one call of Lease looks for more messages of a kind:
// with a key of its own for each message it would look at all of them. Of a queue
// among others there is one in as many messages as there are queues, of which mostShares count.
const (
	maxPassed  = 256
	mostShares = 16
)

// pick chooses what to lease; blocked: the next message may not be attempted
// before limit is raised. What has expired by a time is about to be a dead letter.
func (w *window) pick(opts LeaseOptions, limit, expired uint64) (picked []*entry, blocked bool) {
	bytes, mayPass := 0, maxPassed
	if w.allAttempted() {
		return nil, false
	}
	var late lateKeys
	for e := w.head; e != nil && mayPass > 0; e = e.next {
		if late.passes(e, expired) {
			continue
		}
		if !late.joins(picked, e) || w.waits(e) {
			if len(picked) > 0 {
				mayPass--
			}
			continue
		}
		if e.msg.Seq > limit {
			return picked, true
		}
		if n := len(picked); n > 0 && (n == opts.MaxMessages || opts.MaxBytes > 0 && bytes+e.size > opts.MaxBytes) {
			break
		}
		if len(picked) == 0 {
			mayPass *= w.sharesWith(e)
		}
		bytes += e.size
		picked = append(picked, e)
	}
	return picked, false
}

// sharesWith is how many queues, e's included, what is ready is divided among; 1: it has none.
func (w *window) sharesWith(e *entry) int {
	if e.queue == "" {
		return 1
	}
	return min(len(w.ready), mostShares)
}
