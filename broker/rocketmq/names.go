package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// hedgeTime is how long a name server has to answer before the next one is asked as
	// well. It answers from memory.
	hedgeTime = 300 * time.Millisecond
	// patienceTime is how long the others have to answer once one knows nothing: brokers
	// tell one that was just restarted within 30 s. One that hangs costs each question
	// for what is not there so long.
	patienceTime = 500 * time.Millisecond
)

// nameServers asks for what name servers know, unlike the library under the caller's
// context. One that does not answer holds up no question. Copies share what they learn;
// methods may be called from many goroutines.
type nameServers struct {
	addrs           []string
	remoting        *remoting
	first           *atomic.Int32 // of addrs, to be asked first: who answered last
	hedge, patience time.Duration
}

func newNameServers(addrs []string, r *remoting) nameServers {
	return nameServers{addrs, r, new(atomic.Int32), hedgeTime, patienceTime}
}

// through asks with other connections.
func (n nameServers) through(r *remoting) nameServers {
	n.remoting = r
	return n
}

// ask puts a question to name servers until read takes an answer of one. Who answered
// last is asked first, and the next one when it has failed, or not answered for a while.
// One that knows nothing is believed when the others say the same, fail, or do not answer
// in a bounded time. The error is of all of them.
func (n nameServers) ask(ctx context.Context, question command, read func(command) error) error {
	ctx, cancel := context.WithCancel(ctx)
	q := n.inquire(ctx, question)
	defer q.asking.Wait() // calls end with ctx, and close their connections
	defer cancel()
	defer q.turn.Stop()
	q.askNext(ctx)
	for q.open > 0 {
		select {
		case a := <-q.answers:
			q.open--
			err := a.err
			if err == nil {
				err = read(a.command)
			}
			if err == nil {
				n.first.Store(int32(a.by))
				return nil
			}
			q.fail(ctx, a.by, err)
		case <-q.turn.C:
			if q.ignorant >= 0 {
				n.first.Store(int32(q.ignorant))
				return errors.Join(append(q.failed, fmt.Errorf("%d others do not answer", q.open))...)
			}
			q.askNext(ctx)
		}
	}
	return errors.Join(q.failed...)
}

// inquiry is one question to name servers. It belongs to who asks.
type inquiry struct {
	nameServers
	question command
	start    int // of addrs
	asked    int
	open     int // of those asked have not answered
	answers  chan nameAnswer
	asking   sync.WaitGroup
	turn     *time.Timer // of the next one, or the end of patience
	failed   []error
	ignorant int // of addrs, one that knows nothing; -1: none
	share    time.Duration
}

// nameAnswer is what a name server said, or why it said nothing.
type nameAnswer struct {
	command
	by  int // of addrs
	err error
}

func (n nameServers) inquire(ctx context.Context, question command) *inquiry {
	share := n.hedge
	if end, ok := ctx.Deadline(); ok {
		share = min(share, time.Until(end)/time.Duration(len(n.addrs)+1))
	}
	return &inquiry{
		nameServers: n, question: question, start: int(n.first.Load()),
		answers: make(chan nameAnswer, len(n.addrs)), turn: time.NewTimer(share), ignorant: -1, share: share,
	}
}

// askNext does nothing when all are asked.
func (q *inquiry) askNext(ctx context.Context) {
	if q.asked == len(q.addrs) {
		return
	}
	by := (q.start + q.asked) % len(q.addrs)
	q.asked++
	q.open++
	q.turn.Reset(q.share)
	q.asking.Go(func() {
		answer, err := q.remoting.call(ctx, q.addrs[by], q.question)
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
			q.remoting.forget(q.addrs[by]) // it was restarted, and they are ended, too
			answer, err = q.remoting.call(ctx, q.addrs[by], q.question)
		}
		if code, ok := codeOf(err); ok && code == codeTopicNotExist {
			err = errTopicNotExist
		}
		q.answers <- nameAnswer{answer, by, err}
	})
}

// fail notes that one is of no use, and has others asked: all of them if it answered
// that it knows nothing.
func (q *inquiry) fail(ctx context.Context, by int, err error) {
	q.failed = append(q.failed, err)
	if !errors.Is(err, errTopicNotExist) && !errors.Is(err, errNoMaster) {
		q.askNext(ctx)
		return
	}
	if q.ignorant >= 0 {
		return
	}
	q.ignorant = by
	for q.asked < len(q.addrs) {
		q.askNext(ctx)
	}
	patience := q.patience
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end)/2)
	}
	q.turn.Reset(patience)
}
