package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// formatVersion is the magic number of the directory.
const formatVersion = 1

// epoch stands in records for the accept time that the broker does not keep.
var (
	epoch    = time.UnixMilli(0)
	zeroTime time.Time
)

// Broker is an open broker. See the package documentation.
type Broker struct {
	opts  Options
	log   *slog.Logger
	db    *kv.DB
	queue *kv.Queue[op]
	now   func() time.Time
	units atomic.Uint64 // last unit of chunks given out

	stop       context.CancelFunc
	background sync.WaitGroup
	close      func() error

	mu         sync.Mutex
	catalog    catalog
	faults     []Fault
	down       bool
	flushing   bool                // a flushOp is queued
	unreadable map[string]struct{} // keys
}

// expected is up to how many bytes the tables of what waits here are no more files than
// can be open. Nothing bounds what waits.
const expected = 16 << 30

// Open opens or creates the broker in opts.Dir. What was stored and not acked
// before a crash is delivered again. Errors are those of kv.Open; the directory
// takes one process at a time.
func Open(ctx context.Context, opts Options) (*Broker, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("open embedded broker: %w", err)
	}
	db, err := kv.Open(ctx, kv.Options{Dir: opts.Dir, Logger: opts.Logger, Magic: formatVersion, Limit: expected})
	if err != nil {
		return nil, fmt.Errorf("open embedded broker: %w", err)
	}
	b := &Broker{
		opts: opts, log: opts.Logger, db: db, now: opts.now,
		catalog: newCatalog(), unreadable: map[string]struct{}{},
	}
	b.close = sync.OnceValue(b.shut)
	b.queue = kv.Attach[op](db, committer{b})
	if err := b.load(ctx); err != nil {
		return nil, fmt.Errorf("open embedded broker in %s: %w", opts.Dir, errors.Join(err, db.Close())) //nolint:contextcheck // Close bounds itself
	}
	b.start() //nolint:contextcheck // its goroutines end with Close, not with Open's context
	return b, nil
}

func (b *Broker) start() {
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.background.Go(func() { b.moveDelayed(ctx) })
	b.background.Go(func() { b.retain(ctx) })
}

// Failed is closed when the storage failed: nothing is stored or delivered any
// more, and the process should exit.
func (b *Broker) Failed() <-chan struct{} { return b.db.Failed() }

// Close stops delivering, waits for what is being stored, saves the progress
// of the groups and closes the database. Later calls return the same.
func (b *Broker) Close() error { return b.close() }

func (b *Broker) shut() error {
	b.SetAvailable(false)
	b.stop()
	b.background.Wait()
	if err := b.db.Close(); err != nil { // commits a queued flushOp
		return fmt.Errorf("close embedded broker: %w", err)
	}
	return nil
}

// CreateTopic makes a topic with the given number of queues, 0: Options.Queues.
// A topic that exists stays as it is. nil: durable.
func (b *Broker) CreateTopic(ctx context.Context, name string, queues int) error {
	if queues == 0 {
		queues = b.opts.Queues
	}
	if err := validName(name, message.MaxTopic); err != nil {
		return fmt.Errorf("create topic %q: %w", name, err)
	}
	if queues < 1 || queues > maxQueues {
		return fmt.Errorf("create topic %s: %d queues are not within 1 and %d", name, queues, maxQueues)
	}
	o := &appendOp{topic: name, queues: queues}
	if err := b.queue.Commit(ctx, o, o.size()); err != nil {
		return fmt.Errorf("create topic %s: %w", name, err)
	}
	return nil
}

func (b *Broker) hasTopic(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.catalog.topics[name] != nil
}
