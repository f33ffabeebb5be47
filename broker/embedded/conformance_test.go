package embedded_test

import (
	"math"
	"testing"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/broker/brokertest"
	"github.com/remora-mq/remora/broker/embedded"
)

func TestConformance(t *testing.T) {
	brokertest.Run(t, func(t testing.TB) brokertest.Backend {
		b, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir(), FixedTopics: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
		return backend{b}
	})
}

// backend implements brokertest's Backend, Refusing, Doubting and Burying.
type backend struct{ *embedded.Broker }

var (
	_ brokertest.Refusing = backend{}
	_ brokertest.Doubting = backend{}
	_ brokertest.Burying  = backend{}
)

func (b backend) NewProducer(testing.TB) broker.Producer { return b.Producer() }

func (b backend) NewConsumer(t testing.TB, sub broker.Subscription) broker.Consumer {
	t.Helper()
	c, err := b.Consumer(sub)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (b backend) NewDeadLetters(t testing.TB, group string) broker.DeadLetters {
	t.Helper()
	d, err := b.DeadLetters(group)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (b backend) CreateTopic(t testing.TB, topic string, queues int) {
	t.Helper()
	if err := b.Broker.CreateTopic(t.Context(), topic, queues); err != nil {
		t.Fatal(err)
	}
}

func (b backend) RefuseSendBack(testing.TB) (heal func()) {
	b.Inject(embedded.Fault{At: embedded.AtSendBack, Times: math.MaxInt, Status: "SYSTEM_BUSY"})
	return b.Heal
}

func (b backend) StoreWithoutOK(testing.TB) (heal func()) {
	b.Inject(embedded.Fault{Times: math.MaxInt, Status: "FLUSH_DISK_TIMEOUT"})
	return b.Heal
}
