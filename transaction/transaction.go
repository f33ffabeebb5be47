package transaction

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Spool is what a Checker needs of one.
type Spool interface {
	DueChecks(ctx context.Context, most int) ([]spool.Transaction, error)
	CheckedInVain(ctx context.Context, id string, v spool.InVain) error
	CommitTransaction(ctx context.Context, id, by string) (spool.Transaction, error)
	RollBackTransaction(ctx context.Context, id, by string) (spool.Transaction, error)
	Undecide(ctx context.Context, id, by string) (spool.Transaction, error)
	Find(ctx context.Context, id message.ID) (spool.Item, error)
}

var _ Spool = (*spool.Spool)(nil)

// Options of a Checker. Zero means the default.
type Options struct {
	Allowed Allowed
	// Concurrency is how many are asked at once, of one host half of them. Default 16.
	Concurrency int
	// Rate is how many are asked in a second, at most. Default 200.
	Rate float64
	// Timeout of a check-back, from the connection to the end of the answer.
	// Default 10 s.
	Timeout   time.Duration
	UserAgent string
	Logger    *slog.Logger // nil: none
}

// deferredForOne is how many are put off for one that may be asked: those of a host that
// hangs, however many there are, must not keep the turn of another's from coming, and
// each is written to the disk.
const deferredForOne = 10

func (o Options) withDefaults() Options {
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	if o.Rate == 0 {
		o.Rate = 200
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Checker asks for the decisions of open transactions.
type Checker struct {
	spool   Spool
	o       Options
	http    *http.Client
	pace    *rate.Limiter // of those that are asked
	defers  *rate.Limiter // of those that are put off for their host's share
	shares  *shares
	metrics *metrics
}

// New returns a Checker that asks for nothing until Run.
func New(s Spool, o Options) *Checker {
	o = o.withDefaults()
	return &Checker{
		spool: s, o: o, pace: rate.NewLimiter(rate.Limit(o.Rate), 1), defers: rate.NewLimiter(rate.Limit(deferredForOne*o.Rate), 1), shares: newShares(o.Concurrency), metrics: newMetrics(),
		http: &http.Client{
			Timeout:       o.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{ // no proxy: what is allowed is what is asked
				MaxIdleConnsPerHost: o.Concurrency, MaxConnsPerHost: o.Concurrency, IdleConnTimeout: time.Minute, DisableCompression: true,
				MaxResponseHeaderBytes: 64 << 10,
			},
		},
	}
}

// Run asks until ctx ends, or the spool takes nothing more: then it returns why. It
// returns when nothing is under way any more; what was is asked again.
func (c *Checker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer c.http.CloseIdleConnections()
	defer running.Wait()
	slots := make(chan struct{}, c.o.Concurrency)
	for {
		due, err := c.spool.DueChecks(ctx, c.o.Concurrency)
		if err != nil {
			if over(ctx, err) {
				return err
			}
			c.o.Logger.Error("cannot read which transactions are to be checked; it is tried again", "error", err)
			if err := backoff.Sleep(ctx, time.Second); err != nil {
				return err
			}
			continue
		}
		for i := range due {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			running.Go(func() {
				defer func() { <-slots }()
				c.check(ctx, &due[i])
			})
		}
	}
}

// over reports an error after which nothing is to be asked any more.
func over(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, spool.ErrClosed) || errors.Is(err, spool.ErrReadOnly)
}

// Ask asks for an open transaction beside its schedule, and has done what is answered.
// An answer that decides nothing counts for nothing. Where its host has not answered as
// many as it may be asked at once, it is not asked: who wants to know asks again.
func (c *Checker) Ask(ctx context.Context, t *spool.Transaction) {
	host := hostOf(t.Check.URL)
	if !c.shares.enter(host) {
		return
	}
	defer c.shares.leave(host)
	if c.pace.Wait(ctx) != nil {
		return
	}
	said, why := c.ask(ctx, t)
	if ctx.Err() != nil {
		return
	}
	c.metrics.checked(said)
	if said != unknown {
		c.decide(ctx, t, said, "check-back of the broker")
		return
	}
	c.o.Logger.Debug("a broker's question brought no decision", "transaction", t.ID, "answer", why)
}

// check asks for one transaction, and has done what is answered. If its host has not
// answered as many as it may be asked at once, it is asked later, and that counts for
// nothing.
func (c *Checker) check(ctx context.Context, t *spool.Transaction) {
	host := hostOf(t.Check.URL)
	if !c.shares.enter(host) {
		if c.defers.Wait(ctx) != nil {
			return
		}
		c.putOff(ctx, t, spool.InVain{Brought: t.LastCheck, Again: jittered(min(t.Check.Interval, c.o.Timeout))})
		return
	}
	defer c.shares.leave(host)
	if c.pace.Wait(ctx) != nil {
		return
	}
	said, why := c.ask(ctx, t)
	if ctx.Err() != nil {
		return // it was not asked to the end
	}
	attempt := t.Checks + 1
	c.metrics.checked(said)
	if said != unknown {
		c.decide(ctx, t, said, fmt.Sprintf("check-back %d", attempt))
		return
	}
	c.o.Logger.Info("a check-back brought no decision", "transaction", t.ID, "attempt", attempt, "max_attempts", t.Check.Most, "answer", why)
	if attempt < t.Check.Most {
		c.putOff(ctx, t, spool.InVain{Brought: why, Again: jittered(t.Check.Interval), Counts: true})
		return
	}
	c.putOff(ctx, t, spool.InVain{Brought: why, Again: max(jittered(t.Check.Interval), time.Minute), Counts: true}) // if what follows fails
	c.exhaust(ctx, t, fmt.Sprintf("%d check-backs in vain", attempt))
}

// decide does what was answered. Where that cannot be made durable now, it is asked
// again, and that counts for nothing: the application has answered.
func (c *Checker) decide(ctx context.Context, t *spool.Transaction, said answer, by string) {
	do := c.spool.CommitTransaction
	if said == rollback {
		do = c.spool.RollBackTransaction
	}
	stands, err := do(ctx, t.ID, by)
	switch {
	case err == nil:
		c.o.Logger.Info("a transaction was decided", "transaction", t.ID, "state", stands.State.String(), "by", by)
	case errors.Is(err, spool.ErrDecided):
		c.o.Logger.Error("the application answered a check-back with another decision than it, or an operator, had made before, which stands",
			"transaction", t.ID, "stands", stands.State.String(), "decided_by", stands.DecidedBy)
	case !over(ctx, err):
		c.o.Logger.Warn("a transaction cannot be decided now; it is asked for again", "transaction", t.ID, "error", err)
		c.putOff(ctx, t, spool.InVain{Brought: err.Error(), Again: jittered(t.Check.Interval)})
	}
}

func (c *Checker) putOff(ctx context.Context, t *spool.Transaction, v spool.InVain) {
	if err := c.spool.CheckedInVain(ctx, t.ID, v); err != nil && !over(ctx, err) {
		c.o.Logger.Error("a transaction is not checked again before the next start", "transaction", t.ID, "error", err)
	}
}

// exhaust ends the check-backs of a transaction.
func (c *Checker) exhaust(ctx context.Context, t *spool.Transaction, by string) {
	switch t.Check.Exhausted {
	case spool.TransactionCommitted:
		c.decide(ctx, t, commit, by+", on_exhausted: commit")
	case spool.TransactionRolledBack:
		c.decide(ctx, t, rollback, by+", on_exhausted: rollback")
	default:
		stands, err := c.spool.Undecide(ctx, t.ID, by)
		if err != nil && !over(ctx, err) {
			c.o.Logger.Error("a transaction cannot be left undecided; it is asked for again", "transaction", t.ID, "error", err)
		}
		if err == nil && stands.State == spool.TransactionUndecided {
			c.o.Logger.Error("a transaction is undecided: decide it (sidecar tx commit, or sidecar tx rollback)", "transaction", t.ID, "after", by)
		}
	}
}

// jittered is interval and up to a tenth more, so that what was prepared at once is
// not asked for at once for ever.
func jittered(interval time.Duration) time.Duration {
	return interval + rand.N(interval/10+1)
}
