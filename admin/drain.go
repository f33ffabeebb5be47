package admin

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/internal/wire"
)

// Left is what a spool holds, by what that waits for.
type Left struct {
	LeftCounts

	Ending     uint64      `json:"ending"` // transactions, for their broker to confirm what was decided
	Topics     []TopicLeft `json:"topics"` // those with most messages first
	MoreTopics int         `json:"more_topics,omitempty"`
}

// LeftCounts are messages.
type LeftCounts struct {
	Waiting uint64 `json:"waiting"` // for the broker; those that are to be sent again, too
	Delayed uint64 `json:"delayed"` // for their time
	Half    uint64 `json:"half"`    // for a decision, or for a broker to take it
	Held    uint64 `json:"held"`    // for an operator; those behind them, or behind dead letters, too
	Dead    uint64 `json:"dead"`
}

// TopicLeft is what a topic has left, and why.
type TopicLeft struct {
	Topic string `json:"topic"`
	LeftCounts

	Why string `json:"why"`
}

// All is how many there are, whatever they wait for.
func (l *LeftCounts) All() uint64 { return l.Waiting + l.Delayed + l.Half + l.Held + l.Dead }

// Add adds those of another topic.
func (l *LeftCounts) Add(o LeftCounts) {
	l.Waiting += o.Waiting
	l.Delayed += o.Delayed
	l.Half += o.Half
	l.Held += o.Held
	l.Dead += o.Dead
}

// drained reports whether nothing is left of what is waited for.
func (l *Left) drained(all bool) bool {
	return l.Waiting+l.Ending == 0 && (!all || l.All() == 0)
}

// lookAgain is how often drains look what is left, however many there are.
const lookAgain = 200 * time.Millisecond

// looks are those of all drains together: a look counts everything, under the spool's
// lock. Its methods may be called from any goroutine.
type looks struct {
	left func() (left Left, open bool)

	mu    sync.Mutex
	began time.Time // the last one
	last  Left
	open  bool
}

// since returns a look that began after a time, and when it began: the last one, or else
// a new one.
func (l *looks) since(after time.Time) (left Left, open bool, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.began.After(after) {
		l.began = time.Now()
		if l.last, l.open = l.left(); l.last.Topics == nil {
			l.last.Topics = []TopicLeft{}
		}
	}
	return l.last, l.open, l.began
}

// Errors of a drain whose time ended before it was drained.
var (
	errTimeOver = errors.New("its time is over, and something is left")
	errNotOpen  = errors.New("its time is over, and the spool is not open yet: it is not known what is left")
)

// drain waits until nothing is left, while the sidecar goes on as before.
type drain struct {
	looks    *looks
	all      bool
	deadline time.Time // zero: there is none

	seen time.Time // the look that it saw last; before one, when it was asked for

	mu   sync.Mutex
	last drainProgress
	open bool // the spool was, when it was last looked at
}

// drainProgress is how far a drain has come.
type drainProgress struct {
	All      bool       `json:"all"`
	Deadline *wire.Time `json:"deadline_at,omitempty"`
	Drained  bool       `json:"drained"` // nothing was left of what is waited for
	Left     Left       `json:"left"`    // when it was last looked at
}

// Do waits until nothing is left of what is waited for, until its time is over
// (errTimeOver, errNotOpen), or until ctx is done.
func (d *drain) Do(ctx context.Context) error {
	var over <-chan time.Time
	if !d.deadline.IsZero() {
		timer := time.NewTimer(time.Until(d.deadline))
		defer timer.Stop()
		over = timer.C
	}
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for !d.look() {
		select {
		case <-tick.C:
		case <-over:
			d.seen = d.deadline
			switch {
			case d.look():
				return nil
			case !d.open: // only written by look
				return errNotOpen
			}
			return errTimeOver
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// look notes what is left, by a look newer than the one that it saw last: where others look
// every lookAgain it has to look itself only once.
func (d *drain) look() (drained bool) {
	left, open, began := d.looks.since(d.seen)
	d.seen = began
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open, d.last.Left, d.last.Drained = open, left, open && left.drained(d.all)
	return d.last.Drained
}

// progress returns what was seen last.
func (d *drain) progress() drainProgress {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.last
	p.All, p.Deadline = d.all, wire.OptionalTime(d.deadline)
	return p
}

// drain answers POST /v1/drain.
func (a *api) drain(w http.ResponseWriter, r *http.Request) {
	d, p := a.readDrain(r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	d.look()                                     // what is answered is true, also before it runs
	op, p := a.operations.begin(kindDrain, 0, d) //nolint:contextcheck // it outlives the request
	if p != nil {
		writeProblem(w, p)
		return
	}
	a.log.Info("an operator began a drain; accepting goes on", "operation", op.id, "all", d.all, "deadline", d.deadline)
	writeBegun(w, op)
}

// readDrain wants one JSON object, or nothing.
func (a *api) readDrain(r *http.Request) (*drain, *problem.Problem) {
	var req struct {
		Timeout string `json:"timeout"`
		All     bool   `json:"all"`
	}
	if r.ContentLength != 0 {
		if p := readObject(r, &req, `{"timeout", "all"}, or no body`); p != nil {
			return nil, p
		}
	}
	d := &drain{looks: a.looks, all: req.All, seen: time.Now()}
	if req.Timeout == "" {
		return d, nil
	}
	timeout, err := time.ParseDuration(req.Timeout)
	if err != nil || timeout <= 0 {
		return nil, problem.New(problem.InvalidOption, "timeout is %.40q; write a time as 90s, 15m or 24h, or leave it out to wait as long as it takes", req.Timeout)
	}
	d.deadline = time.Now().Add(timeout)
	return d, nil
}
