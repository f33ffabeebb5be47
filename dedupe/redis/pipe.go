package redis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/remora-mq/remora/dedupe"
)

const (
	// maxTrips is how many pipelines are under way at a time. While one is, the
	// calls that come wait together for the next: their commands share the way
	// there and back, and the sync of a server that has appendfsync always. With two
	// at a time each has half as many, and Redis and we more to do.
	maxTrips = 1
	// maxAboard bounds the commands of one, which Redis runs one after the other.
	maxAboard = 128
	// lateAfter is the part of the timeout after which a trip is late: its connection
	// may hang, and those who wait go by another.
	lateAfter = 8
)

var errNoAnswer = errors.New("server was not asked")

// pipe takes the calls of many goroutines to the server in few round trips. A call
// that finds a trip to spare begins it at once. Where a trip is late, another is begun
// in its place, and asks once more what it had: every question may be asked twice, and
// the answer that comes first is taken.
type pipe struct {
	client  *goredis.Client
	timeout time.Duration
	calls   *dedupe.Calls // trips end before the store does
	apart   atomic.Bool   // the server does not take marks of several keys together

	mu      sync.Mutex
	waiting []*question
	trips   int // under way, and not late
}

// trip is the way of some questions there and back.
type trip struct {
	aboard []*question
	late   bool
	over   bool
}

// question is one command, or a done mark, from its call to its answer.
type question struct {
	command []any
	script  *script // that it runs; nil: none

	set    [6]any // the command that begins a key without a mark, and what it says
	value  string
	window int64

	mark     string // that is asked about
	finishes string // token and window, as done.lua wants them; "": it is no done mark

	given bool // nobody waits any more
	asked int  // trips with it that are not over
	again bool // it was aboard of one that is late
	waits bool // for the next
	over  bool // done is closed; these belong to pipe.mu

	done   chan struct{} // closed: the rest is set
	answer any
	err    error
}

// ask returns the server's answer, or the error of ctx or of the timeout: whether the
// command ran is then not known. What was not under way by then does not run.
func (p *pipe) ask(ctx context.Context, q *question) (any, error) {
	timer, _ := timers.Get().(*time.Timer) // it has nothing else
	timer.Reset(p.timeout)
	defer func() { timer.Stop(); timers.Put(timer) }()
	q.done = make(chan struct{})
	p.mu.Lock()
	q.waits = true
	p.waiting = append(p.waiting, q)
	p.depart()
	p.mu.Unlock()
	err := context.DeadlineExceeded
	select {
	case <-q.done:
		return q.answer, q.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	p.mu.Lock()
	q.given = true
	p.mu.Unlock()
	return nil, err
}

// timers are kept: a context with a timeout costs a call more than its way through
// the library does.
var timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// depart begins a trip for those who wait, if there is one to spare. p.mu is held.
func (p *pipe) depart() {
	if len(p.waiting) > 0 && p.trips < maxTrips {
		p.trips++
		p.calls.Go(p.travel)
	}
}

// travel makes trips until nobody waits, or one was late.
func (p *pipe) travel() {
	for t := p.board(); t != nil; t = p.board() {
		watch := time.AfterFunc(p.timeout/lateAfter, func() { p.isLate(t) })
		told := p.makeTrip(t.aboard)
		watch.Stop()
		if p.arrive(t, told); t.late {
			return
		}
	}
}

// board takes those who wait. When there is none, the trip is over.
func (p *pipe) board() *trip {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, n := &trip{}, 0
	for _, q := range p.waiting {
		if len(t.aboard) == maxAboard {
			break
		}
		n++
		if q.waits = false; !q.given && !q.over {
			q.asked++
			t.aboard = append(t.aboard, q)
		}
	}
	p.waiting = append(p.waiting[:0], p.waiting[n:]...)
	clear(p.waiting[len(p.waiting):cap(p.waiting)])
	if len(t.aboard) == 0 {
		p.trips--
		return nil
	}
	return t
}

// isLate lets others go by another connection, and with them, once, those that are
// aboard. The trip goes on: it may be the server that is slow.
func (p *pipe) isLate(t *trip) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.over {
		return
	}
	t.late = true
	p.trips--
	for _, q := range t.aboard {
		if !q.given && !q.over && !q.again {
			q.again, q.waits = true, true
			p.waiting = append(p.waiting, q)
		}
	}
	p.depart()
}

// arrive gives the questions their answers. One that got none waits for that of the
// other trip, if it is on one.
func (p *pipe) arrive(t *trip, told []*errand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.over = true
	for _, e := range told {
		for i, q := range e.of {
			q.asked--
			answer, err := e.answerOf(i)
			if q.over || err != nil && !answered(err) && (q.waits || q.asked > 0) {
				continue
			}
			q.answer, q.err, q.over = answer, err, true
			close(q.done)
		}
	}
}

// makeTrip sends the commands. Scripts that the server has forgotten are sent whole,
// and what it does not take together, as marks of other slots in a cluster, one by one.
func (p *pipe) makeTrip(aboard []*question) (told []*errand) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	all := errandsOf(aboard, !p.apart.Load())
	p.send(ctx, all)
	var apart []*errand
	for _, e := range all {
		if len(e.of) > 1 && answered(e.err) {
			p.apart.Store(p.apart.Load() || goredis.HasErrorPrefix(e.err, "CROSSSLOT"))
			apart = append(apart, e.apart()...)
			continue
		}
		told = append(told, e)
	}
	p.send(ctx, apart)
	return append(told, apart...)
}

func (p *pipe) send(ctx context.Context, all []*errand) {
	p.exec(ctx, all)
	var unknown []*errand
	for _, e := range all {
		if e.err != nil && goredis.HasErrorPrefix(e.err, "NOSCRIPT") {
			e.whole()
			unknown = append(unknown, e)
		}
	}
	p.exec(ctx, unknown)
}
