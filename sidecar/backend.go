package sidecar

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/broker/embedded"
	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
)

// backend makes producers and consumers of one broker.
type backend interface {
	Producer() (broker.Producer, error)
	Consumer(sub broker.Subscription) (broker.Consumer, error)
	DeadLetters(group string) (broker.DeadLetters, error)
	// Halves keep half messages; nil: the broker has none.
	Halves() (broker.Halves, error)
	// Failed is closed when the backend's own storage has failed; nil: it has none.
	Failed() <-chan struct{}
	Close() error
}

// openBackend opens the configured broker. RocketMQ is not contacted.
func (s *Sidecar) openBackend(ctx context.Context) (backend, error) {
	if s.cfg.Broker.Type == config.BrokerRocketMQ {
		return s.rocketmq(), nil
	}
	dir := filepath.Join(s.cfg.Spool.Dir, "embedded")
	b, err := embedded.Open(ctx, embedded.Options{
		Dir: dir, Logger: s.log.With("component", "embedded"), Room: func() error { return s.parts.room.forBroker(dir) },
	})
	if err != nil {
		return nil, err
	}
	return inProcess{b}, nil
}

// inProcess is the embedded broker.
type inProcess struct{ b *embedded.Broker }

func (p inProcess) Producer() (broker.Producer, error) { return p.b.Producer(), nil }
func (p inProcess) Failed() <-chan struct{}            { return p.b.Failed() }
func (p inProcess) Close() error                       { return p.b.Close() }
func (p inProcess) Halves() (broker.Halves, error)     { return nil, nil } //nolint:nilnil // it has none

func (p inProcess) Consumer(sub broker.Subscription) (broker.Consumer, error) {
	return p.b.Consumer(sub)
}

func (p inProcess) DeadLetters(group string) (broker.DeadLetters, error) {
	return p.b.DeadLetters(group)
}

// remote is a RocketMQ cluster.
type remote struct {
	s        *Sidecar
	instance string
}

// rocketmq names client instances by host and spool: one spool has one process,
// so no two processes share a name, and a restart keeps it.
func (s *Sidecar) rocketmq() remote {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return remote{s, fmt.Sprintf("%s-%s", host, s.parts.spool.ID())}
}

func (r remote) Producer() (broker.Producer, error) {
	return rocketmq.NewProducer(r.options(r.group()), r.s.log)
}

func (r remote) group() string {
	if group := r.s.cfg.Broker.RocketMQ.ProducerGroup; group != "" {
		return group
	}
	return "remora"
}

func (r remote) options(group string) rocketmq.ProducerOptions {
	return rocketmq.ProducerOptions{
		NameServers: r.s.cfg.Broker.RocketMQ.NameServers, Group: group, Instance: r.instance,
		Keys:           r.s.secrets.broker.current,
		AttemptTimeout: r.s.cfg.Forwarder.AttemptTimeout.Std(),
	}
}

// Halves have a group for each spool: a broker asks anybody of the group, and no other
// sidecar knows what is decided here.
func (r remote) Halves() (broker.Halves, error) {
	spool := "-tx-" + r.s.parts.spool.ID().String()
	group := r.group()
	return rocketmq.NewHalves(r.options(group[:min(len(group), maxGroup-len(spool))]+spool), r.s.log.With("component", "halves"))
}

// maxGroup is the longest name that clients can read.
const maxGroup = 100

func (r remote) Consumer(sub broker.Subscription) (broker.Consumer, error) {
	return rocketmq.NewConsumer(rocketmq.ConsumerOptions{
		NameServers: r.s.cfg.Broker.RocketMQ.NameServers, Instance: r.instance,
		Keys: r.s.secrets.broker.current,
	}, sub, r.s.log)
}

func (r remote) DeadLetters(group string) (broker.DeadLetters, error) {
	return rocketmq.NewDeadLetters(rocketmq.ConsumerOptions{
		NameServers: r.s.cfg.Broker.RocketMQ.NameServers, Instance: r.instance,
		Keys: r.s.secrets.broker.current,
	}, group)
}

// ClusterOptions say how to reach the configured RocketMQ. It reads the files of
// the keys.
func ClusterOptions(c config.Config) (rocketmq.ConsumerOptions, error) {
	known, err := readSecrets(c)
	if err != nil {
		return rocketmq.ConsumerOptions{}, err
	}
	return rocketmq.ConsumerOptions{NameServers: c.Broker.RocketMQ.NameServers, Keys: known.broker.current}, nil
}

func (remote) Failed() <-chan struct{} { return nil }
func (remote) Close() error            { return nil }

// cluster names the broker in dedupe scopes. Another list of name servers is
// another cluster: that may repeat within the window, but never suppress.
func (s *Sidecar) cluster() string {
	if s.cfg.Broker.Type == config.BrokerEmbedded {
		return config.BrokerEmbedded
	}
	servers := slices.Clone(s.cfg.Broker.RocketMQ.NameServers)
	slices.Sort(servers)
	return strings.Join(servers, ",")
}
