package rocketmq

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

const (
	// lockLife is how long a broker keeps a lock that is not renewed, for whoever
	// asks (RebalanceLockManager.REBALANCE_LOCK_MAX_LIVE_TIME of 5.3.3).
	lockLife = 60 * time.Second
	// renewEvery leaves several tries, and bounds for how long a broker that was
	// restarted, and forgot its locks, may give one of ours away unnoticed.
	renewEvery = 5 * time.Second
	// believeLock is how long after its last renewal turns are given. What runs
	// then has the rest of lockLife to end.
	believeLock = 30 * time.Second
	// lookAgain is the time between two tries to get a lock that another has.
	lookAgain = time.Second
)

// locks gets, renews and gives back the brokers' locks of a group's queues, so that
// no two members have a queue at once. It belongs to one goroutine.
type locks struct {
	claims *claims
	table  lockTable
	log    *slog.Logger

	// rebalance has the library ask claims for the queues. It calls brokers.
	rebalance func()
	asking    sync.WaitGroup
	busy      chan struct{} // has room for one: rebalance runs
}

// lockTable is what brokers offer. The queues of a call are all of one broker.
type lockTable interface {
	// lock gets or renews, and returns the queues that are ours now.
	lock(ctx context.Context, broker string, queues []primitive.MessageQueue) ([]primitive.MessageQueue, error)
	// unlock gives back. What it cannot, ends by itself after lockLife.
	unlock(ctx context.Context, broker string, queues []primitive.MessageQueue) error
}

func newLocks(c *claims, table lockTable, rebalance func(), log *slog.Logger) *locks {
	return &locks{claims: c, table: table, log: log, rebalance: rebalance, busy: make(chan struct{}, 1)}
}

// run keeps the locks until ctx is done, and then gives all back.
func (k *locks) run(ctx context.Context) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for ctx.Err() == nil {
		k.look(ctx)
		select {
		case <-tick.C:
		case <-k.claims.wake:
		case <-ctx.Done():
		}
	}
	k.asking.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	k.unlock(ctx, k.claims.all())
}

func (k *locks) look(ctx context.Context) {
	p := k.claims.plan(time.Now())
	if free := slices.Collect(maps.Keys(p.free)); len(free) > 0 {
		k.unlock(ctx, free)
		k.claims.forget(p.free)
	}
	for broker, queues := range byBroker(p.lock) {
		asked := time.Now()
		got, err := k.table.lock(ctx, broker, queues)
		if err != nil {
			if ctx.Err() == nil {
				k.log.Warn("queues of an ordered subscription are not locked", "broker", broker, "error", err)
			}
			continue // claims ends what is not renewed for too long
		}
		if k.claims.locked(asked, queues, got) {
			p.ask = true
		}
	}
	if p.ask {
		k.ask()
	}
}

// ask does not wait: locks are renewed meanwhile.
func (k *locks) ask() {
	select {
	case k.busy <- struct{}{}:
	default:
		return // and look asks again
	}
	k.asking.Go(func() {
		defer func() { <-k.busy }()
		k.rebalance()
	})
}

func (k *locks) unlock(ctx context.Context, queues []primitive.MessageQueue) {
	for broker, some := range byBroker(queues) {
		if err := k.table.unlock(ctx, broker, some); err != nil {
			k.log.Warn("queues of an ordered subscription are not unlocked; other members wait for the lock to end",
				"broker", broker, "wait", lockLife, "error", err)
		}
	}
}

func byBroker(queues []primitive.MessageQueue) map[string][]primitive.MessageQueue {
	by := map[string][]primitive.MessageQueue{}
	for _, q := range queues {
		by[q.BrokerName] = append(by[q.BrokerName], q)
	}
	return by
}

// plan is what is to be done for the locks.
type plan struct {
	free map[primitive.MessageQueue]*line
	lock []primitive.MessageQueue // to get, or to renew
	ask  bool                     // the library has to drop a queue
}

func (c *claims) plan(now time.Time) plan {
	p := plan{free: map[primitive.MessageQueue]*line{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	for q, l := range c.lines {
		if l.old() {
			c.finish(q, l, errLockOld)
		}
		switch {
		case !l.dropped.IsZero():
			if now.Sub(l.dropped) >= settleTime { // its offset is at the broker
				p.free[q] = l
			}
		case l.drained(now):
			p.ask = true
		}
		if p.free[q] == nil && now.Sub(l.renewed) >= renewEvery {
			p.lock = append(p.lock, q)
		}
	}
	if c.ctx.Err() != nil {
		return p
	}
	for _, q := range c.wanted {
		if c.lines[q] == nil {
			p.lock = append(p.lock, q)
		}
	}
	return p
}

// locked takes note of a broker's answer for the queues asked for. It reports
// whether there are new lines.
func (c *claims) locked(asked time.Time, queues, got []primitive.MessageQueue) (isNew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range queues {
		l, ours := c.lines[q], slices.Contains(got, q)
		switch {
		case l == nil && ours:
			c.lines[q] = newLine(c.ctx, asked)
			isNew = true
		case l != nil && ours:
			l.renewed = asked
		case l != nil:
			c.finish(q, l, errLockLost)
		}
	}
	return isNew
}

// forget ends lines whose locks were given back.
func (c *claims) forget(free map[primitive.MessageQueue]*line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for q := range free {
		delete(c.lines, q)
	}
}

func (c *claims) all() []primitive.MessageQueue {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.lines))
}
