package sidecar

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// startChecks begins to ask applications for the decisions of open transactions.
func (s *Sidecar) startChecks(ctx context.Context) error {
	p := &s.parts
	checker := transaction.New(p.spool, transaction.Options{
		Allowed: s.cfg.Transactions.CheckURLs, UserAgent: "remora/" + s.version, Logger: s.log.With("component", "transaction"),
	})
	keeper := transaction.NewKeeper(p.spool, p.halves, checker.Ask, s.log.With("component", "transaction"))
	for _, c := range slices.Concat(checker.Collectors(), keeper.Collectors(), []prometheus.Collector{transactionCollector{p.spool}}) {
		if err := s.registry.Register(c); err != nil {
			return err
		}
	}
	p.checking = p.start(ctx, "check-backs", checker.Run)
	s.keeper.Store(keeper)
	p.keeping = p.start(ctx, "half messages", keeper.Run)
	return nil
}

// stopChecks ends them. What was asked is asked again by the next start.
func (s *Sidecar) stopChecks(ctx context.Context) error { return stopped(ctx, s.parts.checking) }

// stopHalves ends what brokers are told and asked. The next start goes on with it.
func (s *Sidecar) stopHalves(ctx context.Context) error { return stopped(ctx, s.parts.keeping) }

func stopped(ctx context.Context, t *task) error {
	if t == nil {
		return nil
	}
	err := mustEnd(ctx, t)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return nil
	}
	return err
}

type transactionCollector struct{ spool *spool.Spool }

var transactionsDesc = prometheus.NewDesc("remora_transactions", "Transactions that are not over, by state. The alarm is undecided: they wait for an operator; those that are ending are decided, and their broker has not confirmed it.", []string{"state"}, nil)

// Describe implements prometheus.Collector.
func (transactionCollector) Describe(ch chan<- *prometheus.Desc) { ch <- transactionsDesc }

// Collect implements prometheus.Collector.
func (c transactionCollector) Collect(ch chan<- prometheus.Metric) {
	n := c.spool.TransactionCounts()
	ch <- prometheus.MustNewConstMetric(transactionsDesc, prometheus.GaugeValue, float64(n.Half), spool.TransactionHalf.String())
	ch <- prometheus.MustNewConstMetric(transactionsDesc, prometheus.GaugeValue, float64(n.Undecided), spool.TransactionUndecided.String())
	ch <- prometheus.MustNewConstMetric(transactionsDesc, prometheus.GaugeValue, float64(n.Ending), "ending")
}

// noticeUndecided is the condition of the same, of brokers that ask for what is not
// known, of those that have dropped what is open, and of what is renewed for them.
func (s *Sidecar) noticeUndecided() {
	if k := s.keeper.Load(); k != nil {
		s.conditions.Set(admin.StrangeHalf, k.Strange())
		s.conditions.Set(admin.DroppedHalf, k.Dropped())
		s.conditions.Explain(admin.RenewedHalf, inTheLastHour(k.Renewed()))
	}
	s.conditions.Set(admin.Undecided, s.parts.spool.TransactionCounts().Undecided > 0)
}

// Prepare implements httpapi.Transactions.
func (d *door) Prepare(ctx context.Context, t spool.TransactionDraft) (spool.Transaction, []message.Receipt, error) {
	if k := d.keeper.Load(); k != nil && t.AtBroker {
		return k.Prepare(ctx, t)
	}
	if s := d.spool.Load(); s != nil && !t.AtBroker {
		return s.Prepare(ctx, t)
	}
	return spool.Transaction{}, nil, notOpen()
}

// CommitTransaction implements httpapi.Transactions.
func (d *door) CommitTransaction(ctx context.Context, id, by string) (spool.Transaction, error) {
	if s := d.spool.Load(); s != nil {
		return s.CommitTransaction(ctx, id, by)
	}
	return spool.Transaction{}, unknown()
}

// RollBackTransaction implements httpapi.Transactions.
func (d *door) RollBackTransaction(ctx context.Context, id, by string) (spool.Transaction, error) {
	if s := d.spool.Load(); s != nil {
		return s.RollBackTransaction(ctx, id, by)
	}
	return spool.Transaction{}, unknown()
}

// Transaction implements httpapi.Transactions.
func (d *door) Transaction(ctx context.Context, id string) (spool.Transaction, error) {
	if s := d.spool.Load(); s != nil {
		return s.Transaction(ctx, id)
	}
	return spool.Transaction{}, unknown()
}

// Transactions implements httpapi.Transactions.
func (d *door) Transactions(ctx context.Context, states []spool.TransactionState, cursor string, limit int) (spool.TransactionPage, error) {
	if s := d.spool.Load(); s != nil {
		return s.Transactions(ctx, states, cursor, limit)
	}
	return spool.TransactionPage{}, unknown()
}

// halvesUnreached reports whether a broker cannot ask for the decision of half messages
// that it has.
func (s *Sidecar) halvesUnreached() bool {
	k := s.keeper.Load()
	return k != nil && len(k.Unreached()) > 0
}

func inTheLastHour(n int) (details []string) {
	if n > 0 {
		details = []string{fmt.Sprintf("%d in the last hour", n)}
	}
	return details
}
