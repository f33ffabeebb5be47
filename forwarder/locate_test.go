package forwarder_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
)

// located is a producer that looks for some topics before it sends.
type located struct {
	*producer
	begun chan string
	found chan struct{} // closed: the topic that is looked for is found
}

func (p *located) Locate(ctx context.Context, topic string) {
	if topic != "new" {
		return
	}
	p.begun <- topic
	select {
	case <-p.found:
	case <-ctx.Done():
	}
}

// A topic whose brokers are looked for takes the slot of no other.
func TestLookingForATopicTakesNoSlot(t *testing.T) {
	p := &located{producer: &producer{}, begun: make(chan string, 1), found: make(chan struct{})}
	r := open(t, p.producer, draft("new", "1", ""))
	r.forward(forwarder.Options{Concurrency: 1}, p)
	<-p.begun
	ids := r.accept(draft("known", "2", ""))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := r.Wait(ctx, ids[0]); err != nil || got.State != message.StateConfirmed {
		t.Errorf("%+v %v", got, err)
	}
	close(p.found)
	r.drained()
	if got := p.bodies(); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("sent %v", got)
	}
}
