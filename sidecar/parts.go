package sidecar

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/deadletter/notes"
	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/seen"
	"github.com/remora-mq/remora/spool"
)

// parts are what is open. open sets them one after the other, so a nil one was
// not reached.
type parts struct {
	room     *room
	db       *kv.DB
	spool    *spool.Spool
	marks    *local.Store // nil: no handler is called
	shared   sharedStores // of several sidecars
	seen     *seen.Store  // which messages were handled
	notes    *notes.Store // of dead letters; nil: no handler is called
	groups   *groups
	backend  backend
	producer broker.Producer
	data     *httpapi.Server
	door     *door // to the spool, for data
	forward  *forwarder.Forwarder
	timers   *timers
	halves   broker.Halves // nil: the broker has none

	forwarding    *task
	noticing      *task // keepConditions
	roomKeeping   *task
	counting      *task // the dead letters of groups; nil: there are no subscriptions
	checking      *task // applications, for the decisions of transactions
	keeping       *task // half messages at brokers
	inspecting    *task // the shared dedupe stores; nil: there are none
	asking        *task // the brokers for their configuration; nil: nothing is decided by it
	subscriptions []*task
	serving       []*task // data listeners
	watching      []*task // admin and health listeners
	watchers      []shutter
	operators     *admin.Server

	volume  Volume
	storage storage
	broken  chan error // the first part that ended by itself

	answered atomic.Bool // while it stops: the last request
}

// shutter is a listener that can be ended.
type shutter interface {
	Shutdown(ctx context.Context) error
}

func (p *parts) init() {
	p.broken = make(chan error, 1)
	p.storage.failed, p.storage.closed = make(chan struct{}), make(chan struct{})
	p.storage.close = sync.OnceFunc(func() { close(p.storage.closed) })
}

// storage tells when any database of the process has failed.
type storage struct {
	failed chan struct{}
	once   sync.Once
	closed chan struct{} // ends the goroutines of watch
	close  func()
}

// watch closes failed when one is closed.
func (s *storage) watch(one <-chan struct{}) {
	go func() {
		select {
		case <-one:
			s.once.Do(func() { close(s.failed) })
		case <-s.closed:
		}
	}()
}

// task is a running part.
type task struct {
	name string
	stop context.CancelFunc
	done chan struct{}
	err  error // after done
}

// start runs a part until it is stopped, by the steps and not by ctx. If it ends
// before, that is reported as broken.
func (p *parts) start(ctx context.Context, name string, run func(context.Context) error) *task {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	t := &task{name: name, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		if t.err = run(ctx); ctx.Err() == nil {
			p.report(t)
		}
	}()
	return t
}

var errEnded = errors.New("ended by itself")

func (p *parts) report(t *task) {
	err := t.err
	if err == nil {
		err = errEnded
	}
	select {
	case p.broken <- fmt.Errorf("%s: %w", t.name, err):
	default: // the first one is the cause
	}
}

// end stops the tasks and waits for all of them until ctx is done. It returns
// the names of those that still run, and what the others returned.
func end(ctx context.Context, tasks ...*task) (running []string, err error) {
	for _, t := range tasks {
		t.stop()
	}
	var failed []error
	for _, t := range tasks {
		if !t.ended(ctx) {
			running = append(running, t.name)
		} else if t.err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", t.name, t.err))
		}
	}
	return running, errors.Join(failed...)
}

// mustEnd is end for tasks that have no reason to go on.
func mustEnd(ctx context.Context, tasks ...*task) error {
	running, err := end(ctx, tasks...)
	for _, name := range running {
		err = errors.Join(err, fmt.Errorf("%s: %w", name, ctx.Err()))
	}
	return err
}

// ended waits until t has ended. A task that has is not told to be late,
// however late ctx is.
func (t *task) ended(ctx context.Context) bool {
	select {
	case <-t.done:
		return true
	default:
	}
	select {
	case <-t.done:
		return true
	case <-ctx.Done():
		return false
	}
}
