package brokertest

import (
	"slices"
	"testing"

	"github.com/remora-mq/remora/broker"
)

// Backend is a running message system. Its methods are called from parallel
// tests; t.Cleanup is for what they must undo.
type Backend interface {
	// NewProducer makes a producer that the suite closes.
	NewProducer(t testing.TB) broker.Producer
	// NewConsumer makes a consumer, as another process would.
	NewConsumer(t testing.TB, sub broker.Subscription) broker.Consumer
	// CreateTopic makes a topic with that many queues, in total.
	CreateTopic(t testing.TB, topic string, queues int)
}

// Refusing is a Backend that can be told to refuse send-backs.
type Refusing interface {
	Backend
	// RefuseSendBack makes every SendBack fail until heal is called.
	RefuseSendBack(t testing.TB) (heal func())
}

// Doubting is a Backend that can be told to store without SEND_OK.
type Doubting interface {
	Backend
	// StoreWithoutOK makes every Send store its messages and answer with a flush
	// or slave status, until heal is called.
	StoreWithoutOK(t testing.TB) (heal func())
}

type testCase struct {
	name   string
	queues int // of its topic
	run    func(*fixture)
}

// Run runs the suite. newBackend is called once.
func Run(t *testing.T, newBackend func(testing.TB) Backend) {
	t.Helper()
	b := newBackend(t)
	t.Run("conformance", func(t *testing.T) {
		cases := slices.Concat(produceCases, consumeCases, orderedCases, sendBackCases, seekCases)
		if d, ok := b.(Burying); ok {
			cases = append(cases, deadLetterCases(d)...)
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(newFixture(t, b, c.queues))
			})
		}
	})
	if r, ok := b.(Refusing); ok {
		t.Run("a refused send-back is an error and loses nothing", func(t *testing.T) { refusedSendBack(newFixture(t, r, 1), r) })
	}
	if d, ok := b.(Doubting); ok {
		t.Run("stored without SEND_OK is not confirmed", func(t *testing.T) { storedWithoutOK(newFixture(t, d, 1), d) })
	}
}
