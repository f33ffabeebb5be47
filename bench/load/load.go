package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// Client is one connection. One goroutine uses it.
type Client interface {
	// Send hands over one message and returns when the answer has come; nil says
	// that the message was taken. It keeps no reference to body.
	Send(body []byte) error
	// Close ends a running Send, from any goroutine.
	Close() error
}

// Options of one measurement.
type Options struct {
	Connections int
	Size        int           // bytes of a body
	Warmup      time.Duration // before the clock runs
	Measure     time.Duration
	Loaded      func() // called after the last answer, while all are connected; nil: nothing is
}

// Result of one measurement.
type Result struct {
	Taken   int     // messages answered, warm-up included
	Rate    float64 // answers per second while the clock ran
	Latency *hdrhistogram.Histogram
}

// hangs is how long after the end an answer may still come.
const hangs = 30 * time.Second

// Run connects, sends until the time is over, and closes the connections. The
// first error of any connection ends it.
func Run(ctx context.Context, dial func(context.Context) (Client, error), opts Options) (Result, error) {
	clients, err := connect(ctx, dial, opts.Connections)
	end := sync.OnceFunc(func() { closeAll(clients) })
	defer end()
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Warmup+opts.Measure+hangs)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, end)()

	from := time.Now().Add(opts.Warmup)
	workers := make([]*worker, len(clients))
	for i, c := range clients {
		w := &worker{client: c, from: from, to: from.Add(opts.Measure), bodies: NewBodies(opts.Size, i), latency: newHistogram()}
		workers[i] = w
		group.Go(func() error { return w.run(ctx) })
	}
	if err = group.Wait(); err == nil && opts.Loaded != nil {
		opts.Loaded()
	}
	return sum(workers, opts.Measure), err
}

func connect(ctx context.Context, dial func(context.Context) (Client, error), n int) ([]Client, error) {
	clients := make([]Client, 0, n)
	for range n {
		c, err := dial(ctx)
		if err != nil {
			return clients, fmt.Errorf("connect: %w", err)
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func closeAll(clients []Client) {
	for _, c := range clients {
		_ = c.Close() // all that was sent has been answered, or an error told so
	}
}

// worker sends over one connection.
type worker struct {
	client   Client
	from, to time.Time // the clock runs between them
	bodies   *Bodies
	taken    int
	answered int // while the clock ran
	latency  *hdrhistogram.Histogram
}

func (w *worker) run(ctx context.Context) error {
	for begin := time.Now(); begin.Before(w.to); {
		if err := w.client.Send(w.bodies.Next()); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("send: %w", err)
		}
		end := time.Now()
		w.count(begin, end)
		begin = end
	}
	return nil
}

// count takes the rate from answers within the time, and latencies from
// messages sent within it: the slowest ones are answered after its end.
func (w *worker) count(begin, end time.Time) {
	w.taken++
	if end.After(w.from) && !end.After(w.to) {
		w.answered++
	}
	if !begin.Before(w.from) {
		_ = w.latency.RecordValue(min(end.Sub(begin).Microseconds(), longest.Microseconds()))
	}
}

func sum(workers []*worker, measured time.Duration) Result {
	r := Result{Latency: newHistogram()}
	answered := 0
	for _, w := range workers {
		r.Taken += w.taken
		answered += w.answered
		r.Latency.Merge(w.latency)
	}
	r.Rate = float64(answered) / measured.Seconds()
	return r
}

const longest = time.Minute

// newHistogram counts microseconds, to within 1 %.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest.Microseconds(), 2) }
