package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

func lookAtBroker(ctx context.Context, f *findings, l *config.Loaded) {
	const section = "broker"
	if l.Broker.Type == config.BrokerEmbedded {
		f.warnf(section, "fine for a laptop; name a RocketMQ for production", "the broker is embedded: no message leaves this process")
		return
	}
	inspector, err := newInspector(l)
	if err != nil {
		f.badf(section, "messages wait in the spool until it is mended", "%v", err)
		return
	}
	defer inspector.Close()
	if !lookAtNameServers(ctx, f, inspector, l.Broker.RocketMQ.NameServers) {
		f.badf(section, "messages wait in the spool until one answers", "no name server answers")
		return
	}
	if err := lookAtCluster(ctx, f, inspector, l); err != nil {
		f.badf(section, "messages wait in the spool until it is mended", "%v", err)
	}
}

func newInspector(l *config.Loaded) (*rocketmq.Inspector, error) {
	options, err := sidecar.ClusterOptions(l.Config)
	if err != nil {
		return nil, err
	}
	return rocketmq.NewInspector(options)
}

// lookAtNameServers asks each of them, and reports whether one answers. One that hangs
// still accepts connections.
func lookAtNameServers(ctx context.Context, f *findings, inspector *rocketmq.Inspector, addrs []string) (answered bool) {
	const section = "broker"
	for _, addr := range addrs {
		ctx, cancel := context.WithTimeout(ctx, lookTimeout)
		err := inspector.NameServer(ctx, addr)
		cancel()
		switch {
		case err == nil:
			answered = true
			f.okf(section, "name server %s answers", addr)
		case errors.Is(err, rocketmq.ErrSilent):
			f.warnf(section, "see whether it hangs, or is no name server; the sidecar asks the others beside it", "name server %s: %v", addr, err)
		default:
			f.warnf(section, "start it, or correct broker.rocketmq.name_servers; the sidecar accepts without it", "name server %s: %v", addr, err)
		}
	}
	return answered
}

// lookAtCluster reads what the brokers say of themselves: SEND_OK is worth as
// much as their settings make it.
func lookAtCluster(ctx context.Context, f *findings, inspector *rocketmq.Inspector, l *config.Loaded) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	brokers, err := inspector.Brokers(ctx)
	if err != nil {
		return err
	}
	if len(brokers) == 0 {
		return fmt.Errorf("the name server knows no broker that is a master")
	}
	for _, b := range brokers {
		lookAtOneBroker(f, l, b)
	}
	for _, s := range l.Subscriptions {
		if err := inspector.Topic(ctx, s.Topic); err != nil {
			f.warnf("subscriptions", "create the topic; the sidecar waits for it", "%s: %v", s.Name, err)
		} else if s.Filter.SQL != "" {
			lookAtFilter(ctx, f, inspector, s.WithDefaults(l.Dedupe.Window))
		}
	}
	return nil
}

// lookAtFilter has the brokers parse it.
func lookAtFilter(ctx context.Context, f *findings, inspector *rocketmq.Inspector, s config.Subscription) {
	const section = "subscriptions"
	switch err := inspector.Filter(ctx, s.Group, s.Topic, s.Filter.SQL); {
	case errors.Is(err, rocketmq.ErrFilter):
		f.badf(section, "correct filter.sql, as \"amount > 100 AND region = 'eu'\"; the sidecar ends when a broker refuses it", "%s: %v", s.Name, err)
	case errors.Is(err, rocketmq.ErrNoFilter):
		f.badf(section, "set enablePropertyFilter=true at the broker, or filter by tags; the sidecar delivers nothing of it until then", "%s: %v", s.Name, err)
	case err != nil:
		f.warnf(section, "start the broker; the sidecar waits for it", "%s: %v", s.Name, err)
	default:
		f.okf(section, "%s: the brokers take its SQL filter", s.Name)
	}
}

func lookAtOneBroker(f *findings, l *config.Loaded, b rocketmq.BrokerConfig) {
	const section = "broker"
	if b.Err != nil {
		f.warnf(section, "start it, or let the sidecar's access key read its configuration", "%s (%s): its configuration cannot be read: %v", b.Name, b.Addr, b.Err)
		return
	}
	needs := rocketmq.Needs{
		MaxMessage: int64(l.Spool.MaxMessage), AttemptTimeout: l.Forwarder.AttemptTimeout.Std(),
		SQL:   slices.ContainsFunc(l.Subscriptions, func(s config.Subscription) bool { return s.Filter.SQL != "" }),
		Timer: len(l.Topics.AtBroker()) > 0,
	}
	weak := b.Assess(needs)
	for _, w := range weak {
		f.warnf(section, w.Hint, "%s", w.Text)
	}
	if len(weak) == 0 {
		f.okf(section, "%s (%s) confirms what is on its disk and at its slave", b.Name, b.Addr)
	}
}
