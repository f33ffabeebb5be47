package rocketmq

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/broker/brokertest"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// The cluster that tests share; it is started by the first that needs it.
var sharedCluster = sync.OnceValues(func() (*rmq.Cluster, error) {
	started = true
	return rmq.New(rmq.Options{Brokers: []rmq.BrokerOptions{{FlushDisk: rmq.AsyncFlush}}})
})

var started bool

func TestMain(m *testing.M) {
	code := m.Run()
	if started {
		if c, err := sharedCluster(); err == nil {
			if err := c.Close(); err != nil {
				fmt.Fprintln(os.Stderr, "close cluster:", err)
				code = 1
			}
		}
	}
	if left := ourGoroutines(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines of this package are left:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// ourGoroutines returns the stacks in which this package has a frame. The
// library's own are left behind for up to an hour: goleak would report those.
func ourGoroutines() string {
	var left []string
	for range 50 {
		left = left[:0]
		buf := make([]byte, 4<<20)
		for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "remora/broker/rocketmq.") && !strings.Contains(stack, "TestMain") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
		time.Sleep(100 * time.Millisecond)
	}
	return strings.Join(left, "\n\n")
}

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

func (b realBackend) CreateTopic(t testing.TB, topic string, queues int) {
	b.Cluster.CreateTopic(t, topic, queues)
}

func (b realBackend) RefuseSendBack(t testing.TB) (heal func()) {
	return b.configure(t, "brokerPermission", "4", "6")
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
	return func() { set(normal) }
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
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
	consumer, err := NewConsumer(ConsumerOptions{NameServers: c.NameServerAddrs()}, sub, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return consumer
}

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t testing.TB) brokertest.Backend { return realBackend{cluster(t)} })
}
