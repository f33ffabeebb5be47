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
)

var errNoAnswer = errors.New("server was not asked")

// pipe takes the calls of many goroutines to the server in few round trips. A call
// that finds a trip to spare begins it at once.
type pipe struct {
	client  *goredis.Client
	timeout time.Duration
	calls   *dedupe.Calls // trips end before the store does
	apart   atomic.Bool   // the server does not take marks of several keys together

	mu      sync.Mutex
	waiting []*question
	trips   int // under way
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

	given  bool          // nobody waits any more; pipe.mu
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
	p.waiting = append(p.waiting, q)
	if p.trips < maxTrips {
		p.trips++
		p.calls.Go(p.travel)
	}
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

// travel makes trips until nobody waits.
func (p *pipe) travel() {
	for {
		aboard := p.board()
		if len(aboard) == 0 {
			return
		}
		p.trip(aboard)
	}
}

// board takes those who wait. When there is none, the trip is over.
func (p *pipe) board() (aboard []*question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, q := range p.waiting {
		if len(aboard) == maxAboard {
			break
		}
		n++
		if !q.given {
			aboard = append(aboard, q)
		}
	}
	p.waiting = append(p.waiting[:0], p.waiting[n:]...)
	clear(p.waiting[len(p.waiting):cap(p.waiting)])
	if len(aboard) == 0 {
		p.trips--
	}
	return aboard
}

// trip sends the commands. Scripts that the server has forgotten are sent whole, and
// what it does not take together, as marks of other slots in a cluster, one by one.
func (p *pipe) trip(aboard []*question) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	all := errandsOf(aboard, !p.apart.Load())
	p.send(ctx, all)
	var apart []*errand
	for _, e := range all {
		if len(e.of) > 1 && e.refused() {
			p.apart.Store(p.apart.Load() || goredis.HasErrorPrefix(e.err, "CROSSSLOT"))
			apart = append(apart, e.apart()...)
			continue
		}
		e.tell()
	}
	p.send(ctx, apart)
	for _, e := range apart {
		e.tell()
	}
	for _, q := range aboard {
		close(q.done)
	}
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
