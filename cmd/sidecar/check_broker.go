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
	reached := 0
	for _, addr := range l.Broker.RocketMQ.NameServers {
		if err := dial(ctx, addr); err != nil {
			f.warnf(section, "start it, or correct broker.rocketmq.name_servers; the sidecar accepts without it", "name server %s: %v", addr, err)
			continue
		}
		reached++
		f.okf(section, "name server %s can be reached", addr)
	}
	if reached == 0 {
		f.badf(section, "messages wait in the spool until one can be reached", "no name server can be reached")
		return
	}
	if err := lookAtCluster(ctx, f, l); err != nil {
		f.badf(section, "messages wait in the spool until it is mended", "%v", err)
	}
}

// lookAtCluster reads what the brokers say of themselves: SEND_OK is worth as
// much as their settings make it.
func lookAtCluster(ctx context.Context, f *findings, l *config.Loaded) error {
	options, err := sidecar.ClusterOptions(l.Config)
	if err != nil {
		return err
	}
	inspector, err := rocketmq.NewInspector(options)
	if err != nil {
		return err
	}
	defer inspector.Close()
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
		SQL: slices.ContainsFunc(l.Subscriptions, func(s config.Subscription) bool { return s.Filter.SQL != "" }),
	}
	weak := b.Assess(needs)
	for _, w := range weak {
		f.warnf(section, w.Hint, "%s", w.Text)
	}
	if len(weak) == 0 {
		f.okf(section, "%s (%s) confirms what is on its disk and at its slave", b.Name, b.Addr)
	}
}
