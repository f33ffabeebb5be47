package redis

import (
	"context"
	"errors"
	"sync"
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

	mu      sync.Mutex
	waiting []*question
	trips   int // under way
}

// question is one command, from its call to its answer.
type question struct {
	command []any
	script  *script // that it runs; nil: none

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

// trip sends the commands; scripts that the server has forgotten are sent whole.
func (p *pipe) trip(aboard []*question) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	p.exec(ctx, aboard)
	var unknown []*question
	for _, q := range aboard {
		if q.err != nil && goredis.HasErrorPrefix(q.err, "NOSCRIPT") {
			q.whole()
			unknown = append(unknown, q)
		}
	}
	if len(unknown) > 0 {
		p.exec(ctx, unknown)
	}
	for _, q := range aboard {
		close(q.done)
	}
}

// exec sends the commands, and notes their answers.
func (p *pipe) exec(ctx context.Context, all []*question) {
	to := p.client.Pipeline()
	cmds := make([]*goredis.Cmd, len(all))
	for i, q := range all {
		cmds[i] = to.Do(ctx, q.command...)
	}
	_, err := to.Exec(ctx)
	for i, q := range all {
		switch q.answer, q.err = cmds[i].Result(); {
		case errors.Is(q.err, goredis.Nil):
			q.answer, q.err = nil, nil
		case q.answer == nil && q.err == nil:
			// Nothing was sent: the library notes that for the pipeline alone, where
			// it could not connect.
			q.err = errors.Join(errNoAnswer, err)
		}
	}
}
