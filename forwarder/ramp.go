package forwarder

// ramp is how many of the slots may be used, after the broker was away: one at
// first, and one more whenever as many attempts as there are have been confirmed.
// So it grows by one for each time that the broker takes to answer, and a broker
// that comes back slowly is not met by all lanes at full width.
//
// Attempts of lanes that fail are not bounded by it: a lane makes one of them at a
// time, after its backoff, and a topic that is stuck delays no other. The slots
// guard it.
type ramp struct {
	most      int
	allowed   int
	running   int             // attempts that it bounds
	confirmed int             // attempts, since allowed grew
	lanes     int             // there are
	row       int             // failures with nothing confirmed between
	failing   map[string]bool // topics of these
}

func newRamp(most int) ramp { return ramp{most: most, allowed: most, failing: map[string]bool{}} }

// succeeded notes an attempt that was confirmed.
func (r *ramp) succeeded() {
	r.row = 0
	clear(r.failing)
	if r.allowed == r.most {
		return
	}
	if r.confirmed++; r.confirmed >= r.allowed {
		r.allowed, r.confirmed = r.allowed+1, 0
	}
}

// failed notes an attempt that no broker took. The broker is away when two topics
// fail, or the only one twice, with nothing confirmed between, and no other attempt runs
// of a lane that does not fail: what is wrong with one topic alone is none of the
// others' business.
func (r *ramp) failed(topic string) {
	r.row++
	r.failing[topic] = true
	if r.row > 1 && len(r.failing) >= min(2, r.lanes) && r.running <= 1 {
		r.allowed, r.confirmed = 1, 0
	}
}
