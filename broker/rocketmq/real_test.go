//go:build !race

// The race detector would report the library's own races, as of
// consumer/push_consumer.go:505 with internal/model.go:70. What of this package
// is concurrent, the other tests run with fakes.

package rocketmq

import (
	"slices"
	"sync"
	"testing"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/broker/brokertest"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// sharedCluster is started by the first test that needs it.
var sharedCluster = sync.OnceValues(func() (*rmq.Cluster, error) {
	c, err := rmq.New(rmq.Options{Brokers: []rmq.BrokerOptions{{FlushDisk: rmq.AsyncFlush}}})
	if err == nil {
		atEnd = append(atEnd, c.Close)
	}
	return c, err
})

func cluster(t testing.TB) *rmq.Cluster {
	t.Helper()
	c, err := sharedCluster()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// realBackend runs the conformance suite against a cluster.
type realBackend struct{ *rmq.Cluster }

func (b realBackend) NewProducer(t testing.TB) broker.Producer { return newProducer(t, b.Cluster) }

func (b realBackend) NewConsumer(t testing.TB, sub broker.Subscription) broker.Consumer {
	return newConsumer(t, b.Cluster, sub)
}

func (b realBackend) NewDeadLetters(t testing.TB, group string) broker.DeadLetters {
	return newDeadLetters(t, b.Cluster, group)
}

func (b realBackend) CreateTopic(t testing.TB, topic string, queues int) {
	b.Cluster.CreateTopic(t, topic, queues)
}

func (b realBackend) RefuseSendBack(t testing.TB) (heal func()) {
	return b.configure(t, "brokerPermission", "4", "6")
}

// StoreWithoutOK asks for an in-sync slave, which there is not.
func (b realBackend) StoreWithoutOK(t testing.TB) (heal func()) {
	var heals []func()
	for _, c := range [][3]string{{"slaveTimeout", "300", "3000"}, {"inSyncReplicas", "2", "1"}, {"brokerRole", "SYNC_MASTER", "ASYNC_MASTER"}} {
		heals = append(heals, b.configure(t, c[0], c[1], c[2]))
	}
	return func() {
		for _, h := range slices.Backward(heals) {
			h()
		}
	}
}

func (b realBackend) configure(t testing.TB, key, value, normal string) (heal func()) {
	t.Helper()
	set := func(v string) {
		for _, broker := range b.Brokers {
			if err := broker.UpdateConfig(key, v); err != nil {
				t.Error(err)
			}
		}
	}
	set(value)
	heal = sync.OnceFunc(func() { set(normal) })
	t.Cleanup(heal)
	return heal
}

func newProducer(t testing.TB, c *rmq.Cluster) *Producer {
	t.Helper()
	p, err := NewProducer(ProducerOptions{NameServers: c.NameServerAddrs(), Group: "remora"}, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newConsumer(t testing.TB, c *rmq.Cluster, sub broker.Subscription) *Consumer {
	t.Helper()
	consumer, err := NewConsumer(ConsumerOptions{NameServers: c.NameServerAddrs(), Instance: uniqueName("instance")}, sub, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

func newDeadLetters(t testing.TB, c *rmq.Cluster, group string) *DeadLetters {
	t.Helper()
	d, err := NewDeadLetters(ConsumerOptions{NameServers: c.NameServerAddrs()}, group)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t testing.TB) brokertest.Backend { return realBackend{cluster(t)} })
}
