package embedded

import (
	"testing"

	"github.com/remora-mq/remora/broker"
)

// TestSeekStaysWithinTheQueue: a group that were beyond its end would pass over what comes
// next; and its place is kept over a restart.
func TestSeekStaysWithinTheQueue(t *testing.T) {
	b := open(t, Options{Queues: 1})
	confirmed := send(t, b, msgs(0, 5)...)
	r := consume(t, b, sub(), nil)
	r.take(5)
	r.stop()
	for _, tt := range []struct{ to, want int64 }{{-3, 0}, {2, 2}, {99, 5}} {
		c, err := b.Consumer(sub())
		seeker, can := c.(broker.Seeker)
		if err != nil || !can {
			t.Fatal(err)
		}
		if err := seeker.Seek(t.Context(), []broker.Seek{{Queue: confirmed[0].Queue, To: tt.to}}); err != nil {
			t.Fatal(err)
		}
		b = reopen(t, b)
		if p := b.places(sub()); len(p) != 1 || p[0].Next != tt.want {
			t.Errorf("moved to %d: %+v, want %d", tt.to, p, tt.want)
		}
		if s := b.Stats().Groups["g"]; s.Acked > tt.want || s.Lag != 5-tt.want {
			t.Errorf("moved to %d: %+v", tt.to, s)
		}
	}
	send(t, b, msg(5))
	r = consume(t, b, sub(), nil)
	if d := r.next(); d.ID != msg(5).ID {
		t.Errorf("%s came", d.ID)
	}
	r.quiet()
	r.stop()
}
