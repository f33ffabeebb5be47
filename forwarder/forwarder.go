package forwarder

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Spool is what the forwarder needs of *spool.Spool.
type Spool interface {
	NextTopic(ctx context.Context) (string, error)
	Waiting(topic string) int
	Expired() uint64
	Leases
	Ends
	Bindings
}

// Leases are how messages are taken from a spool.
type Leases interface {
	Lease(ctx context.Context, topic string, opts spool.LeaseOptions) ([]*spool.Lease, error)
	Current(leases []*spool.Lease) []*spool.Lease
	Payloads(ctx context.Context, leases []*spool.Lease) []*spool.Lease
}

// Ends are the ways in which leases end.
type Ends interface {
	Confirm(leases []*spool.Lease, confirmations []message.Confirmation)
	Retry(leases []*spool.Lease, due time.Time, outcome message.Outcome, cause string)
	Release(leases []*spool.Lease)
	Postpone(lease *spool.Lease, due time.Time, cause string)
	Bury(ctx context.Context, l *spool.Lease, reason, cause string) error
}

// Bindings are the queues that the spool binds ordering keys to.
type Bindings interface {
	Bind(ctx context.Context, topic string, queues []string) error
	Unmove(ctx context.Context, topic string) error
	Move(ctx context.Context, topic, from, to string) error
}

// Options of a forwarder. Zero means the default.
type Options struct {
	Concurrency    int            // attempts at a time, over all topics; default 64
	MaxMessages    int            // in a batch; default 256
	MaxBytes       int            // of a batch; default 1 MiB
	AttemptTimeout time.Duration  // default 5 s
	Retry          backoff.Policy // default 100 ms to 30 s

	// Rates bounds what is sent of a topic, in messages a second; a topic that is
	// missing has no bound.
	Rates map[string]float64

	// Priorities are the weights of topics when attempts are short: with 4, a topic
	// gets four times the attempts of one that is missing, which has 1.
	Priorities map[string]int

	// Timer is how far ahead of its time the brokers of a topic take a message for their
	// own timers now; 0: they take none, or nobody knows. nil: 0.
	Timer func(topic string) (ahead time.Duration)

	// BlockOnDead: the spool keeps what is behind a dead letter of its ordering key.
	BlockOnDead bool

	// FailoverAfter is how long a queue fails, while another broker takes the topic,
	// before the ordering keys that are bound to it move. 0: they wait for it.
	FailoverAfter time.Duration
}

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.Concurrency, 64)
	def(&o.MaxMessages, 256)
	def(&o.MaxBytes, 1<<20)
	if o.Timer == nil {
		o.Timer = func(string) time.Duration { return 0 }
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = 5 * time.Second
	}
	if o.Retry == (backoff.Policy{}) {
		o.Retry = backoff.Policy{Initial: 100 * time.Millisecond, Max: 30 * time.Second}
	}
	return o
}

// failureGap is how far apart two failures of a queue may be, of one and the same trouble:
// a message that waits for the queue is tried more often, and else nobody knows.
func (o Options) failureGap() time.Duration {
	return max(o.FailoverAfter, 2*(max(o.Retry.Initial, o.Retry.Max)+o.AttemptTimeout))
}

// Forwarder forwards everything that the spool holds.
type Forwarder struct {
	opts     Options
	spool    Spool
	producer broker.Producer
	prober   broker.Prober  // the producer; nil if it is none
	binder   broker.Binder  // the producer; nil if it is none
	locator  broker.Locator // the producer; nil if it is none
	log      *slog.Logger
	slots    *slots // one for each running attempt
	metrics  *metrics
	failing  sync.Map // topics whose last attempt failed, and its error
	parked   parked
}

// New returns a forwarder that does nothing until Run.
func New(opts Options, s Spool, producer broker.Producer, log *slog.Logger) *Forwarder {
	opts = opts.withDefaults()
	prober, _ := producer.(broker.Prober)
	binder, _ := producer.(broker.Binder)
	locator, _ := producer.(broker.Locator)
	return &Forwarder{
		opts: opts, spool: s, producer: producer, prober: prober, binder: binder, locator: locator, log: log,
		slots: newSlots(opts.Concurrency), metrics: newMetrics(), parked: parked{waiting: s.Waiting},
	}
}

// Run forwards until ctx is done, and returns when every attempt has ended:
// running ones are not cut off, because an attempt without an answer becomes a
// repeat; each is bounded by AttemptTimeout. It returns an error when the spool
// has become unusable.
func (f *Forwarder) Run(ctx context.Context) error {
	var lanes sync.WaitGroup
	defer lanes.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for {
		topic, err := f.spool.NextTopic(ctx)
		if err != nil {
			return ended(err)
		}
		lanes.Go(func() { newLane(f, topic).run(ctx) })
	}
}

// ended leaves out the ways in which a run ends by request.
func ended(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, spool.ErrClosed) {
		return nil
	}
	return err
}

// Failing counts the topics whose last attempt failed and that still have
// something to send, but for those that are parked.
func (f *Forwarder) Failing() (n int) {
	f.eachFailing(func(string, string) { n++ })
	return n
}

// FailingTopics are the topics that Failing counts, each with the error of its last
// attempt.
func (f *Forwarder) FailingTopics() map[string]string {
	all := map[string]string{}
	f.eachFailing(func(topic, cause string) { all[topic] = cause })
	return all
}

// HeldUp is the broker's status by which a topic is one of Parked, or the error by which
// it is one of FailingTopics; "", "": it is neither. It looks at no other topic.
func (f *Forwarder) HeldUp(topic string) (parked, failing string) {
	parked = f.parked.statusOf(topic)
	if cause, fails := f.failing.Load(topic); parked == "" && fails {
		failing = cause.(string) //nolint:errcheck // only errors are stored
	}
	if parked+failing == "" || f.spool.Waiting(topic) == 0 {
		return "", ""
	}
	return parked, failing
}

func (f *Forwarder) eachFailing(visit func(topic, cause string)) {
	f.failing.Range(func(topic, cause any) bool {
		name := topic.(string) //nolint:errcheck // only topics are stored
		if f.spool.Waiting(name) > 0 && f.parked.statusOf(name) == "" {
			visit(name, cause.(string)) //nolint:errcheck // with their errors
		}
		return true
	})
}

// Allowed is how many attempts may run at a time: as many as configured, and after an
// outage fewer.
func (f *Forwarder) Allowed() int { return f.slots.limit() }

// FailingBrokers names the brokers that are probed, where there are several.
func (f *Forwarder) FailingBrokers() []string {
	if f.prober == nil {
		return nil
	}
	return f.prober.Failing()
}
