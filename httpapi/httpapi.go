package httpapi

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/internal/httpguard"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Spool is what the listener needs of the spool; *spool.Spool has it.
type Spool interface {
	// Append stores all drafts or none. nil means durable; the receipts stand in
	// the order of the drafts, Duplicate set where a dedupe key was known. When it
	// has returned nil it reads drafts no more; what they refer to it may keep.
	Append(ctx context.Context, drafts []spool.Draft) ([]message.Receipt, error)
	// Receipt tells what is known of a message, or spool.ErrNotFound.
	Receipt(ctx context.Context, id message.ID) (message.Receipt, error)
	// Cancel ends a message that no attempt can have sent, or returns its receipt
	// if that was done before; with spool.ErrAlreadySent comes the receipt, too.
	Cancel(ctx context.Context, id message.ID) (message.Receipt, error)
	// Wait returns when the message is confirmed or has ended otherwise, dead
	// included, or with its receipt of now when ctx ends.
	Wait(ctx context.Context, id message.ID) (message.Receipt, error)
	// Retention is how long receipts are kept after a message has settled, and at
	// most how many.
	Retention() (keep time.Duration, most int)
}

// Server is the data listener. It serves any number of net.Listeners until
// Shutdown, and is not used again after it.
type Server struct {
	opts    Options
	spool   Spool
	rules   *httpguard.Rules
	tokens  *httpguard.Tokens
	budget  *budget
	topics  *topics
	metrics *metrics
	http    *fasthttp.Server

	draining atomic.Bool     // publishes are refused
	waits    context.Context // ended by Shutdown, so that no Prefer: wait holds it up
	endWaits context.CancelFunc
	work     context.Context // ended when Shutdown runs out of time
	endWork  context.CancelFunc
	patience patience     // of requests, with the disk
	asking   atomic.Int64 // questions of the spool, also those that nobody waits for any more

	allowed atomic.Pointer[string] // the check URL that was found to be allowed last: most applications have one

	mu        sync.Mutex
	stopping  bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	serving   sync.WaitGroup // one per connection and per Serve; Add under mu, while not stopping
}

// New returns a Server over the spool. It opens nothing.
func New(opts Options, sp Spool) *Server {
	s := &Server{
		opts:      opts.withDefaults(),
		spool:     sp,
		rules:     httpguard.NewRules(opts.AllowedHosts, opts.AllowedOrigins),
		tokens:    httpguard.NewTokens(opts.Tokens),
		metrics:   newMetrics(),
		topics:    newTopics(opts),
		listeners: map[net.Listener]struct{}{},
		conns:     map[*conn]struct{}{},
	}
	s.budget = newBudget(s.opts.IngestBudget)
	s.waits, s.endWaits = context.WithCancel(context.Background())
	s.work, s.endWork = context.WithCancel(context.Background())
	s.patience.parent, s.patience.most = s.work, s.opts.AppendTimeout
	s.http = s.newFasthttp()
	return s
}
