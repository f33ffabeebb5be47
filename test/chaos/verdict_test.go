package chaos

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/rocketmq"
)

// stored is a copy of a message that a broker has.
type stored struct {
	id, key string
	body    []byte
	at      time.Time // when it was stored
	place
}

// place is a position in a queue.
type place struct {
	queue  string
	offset int64
}

func (p place) String() string { return fmt.Sprintf("%s, offset %d", p.queue, p.offset) }

// reading is all that the brokers have of some topics, read on and on.
type reading struct {
	brokers []*rocketmq.Broker
	topics  []string
	next    map[string]int64 // offset, by queue
	copies  []stored
	have    map[string]int // copies, by message ID
}

func newReading(s *scene, topics ...string) *reading {
	return &reading{brokers: s.Brokers, topics: topics, next: map[string]int64{}, have: map[string]int{}}
}

// more reads what has come.
func (r *reading) more() error {
	for _, b := range r.brokers {
		for _, topic := range r.topics {
			for queue := range queues {
				if err := r.drain(b, topic, queue); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *reading) drain(b *rocketmq.Broker, topic string, queue int) error {
	name := fmt.Sprintf("%s/%s/%d", topic, b.Name(), queue)
	for {
		pulled, err := b.Pull(topic, queue, r.next[name])
		if err != nil || len(pulled) == 0 {
			return err
		}
		for _, m := range pulled {
			id := m.Properties["UNIQ_KEY"]
			r.copies = append(r.copies, stored{id, m.Properties["SHARDING_KEY"], m.Body, m.StoredAt, place{name, m.Offset}})
			r.have[id]++
			r.next[name] = m.Offset + 1
		}
	}
}

// all waits until the brokers have shown every message: they make a queue from
// their log a moment after they have answered.
func (r *reading) all(ctx context.Context, t *testing.T, ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("not on a broker a minute after it was confirmed"))
	defer cancel()
	await(ctx, t, func() error {
		if err := r.more(); err != nil {
			return err
		}
		var lost []string
		for _, id := range ids {
			if r.have[id] == 0 {
				lost = append(lost, "lost: "+id)
			}
		}
		if len(lost) > 0 {
			return fmt.Errorf("%s", briefly(lost))
		}
		return nil
	})
}

// verdict is what is wrong with the copies: they are to be of accepted messages,
// unchanged, all of them there, each key in one queue in the order of its
// accepts, and a message only as often as answers to it were lost, and once more.
func (h *history) verdict(copies []stored, lostAnswers func(id string) int) (wrong []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, count := map[string]place{}, map[string]int{}
	for _, c := range copies {
		m := h.accepted[c.id]
		switch {
		case m == nil:
			wrong = append(wrong, fmt.Sprintf("phantom: %q at %v was never accepted", c.id, c.place))
			continue
		case m.key != c.key || !bytes.Equal(m.body, c.body) || !strings.HasPrefix(c.queue, m.topic+"/"):
			wrong = append(wrong, fmt.Sprintf("altered: %s at %v", c.id, c.place))
		}
		count[c.id]++
		if p, known := first[c.id]; !known || c.queue == p.queue && c.offset < p.offset {
			first[c.id] = c.place
		}
	}
	for id := range h.accepted {
		if count[id] == 0 {
			wrong = append(wrong, fmt.Sprintf("lost: %s is on no broker", id))
		}
		if extra := count[id] - 1; extra > 0 && extra > lostAnswers(id) {
			wrong = append(wrong, fmt.Sprintf("repeat: %d copies of %s, of which %d answers were lost", count[id], id, lostAnswers(id)))
		}
	}
	for lane, ids := range h.lanes {
		wrong = append(wrong, disorder(lane, ids, first)...)
	}
	slices.Sort(wrong)
	return wrong
}

func disorder(lane string, ids []string, first map[string]place) (wrong []string) {
	for i := 1; i < len(ids); i++ {
		before, at := first[ids[i-1]], first[ids[i]]
		if before.queue != at.queue || before.offset >= at.offset {
			wrong = append(wrong, fmt.Sprintf("order: %s of %s first appeared at %v, the one before it at %v", ids[i], lane, at, before))
		}
	}
	return wrong
}

// repeats is how many copies are more than one of a message.
func (r *reading) repeats() int { return len(r.copies) - len(r.have) }

// briefly joins the first few.
func briefly(wrong []string) string {
	const most = 10
	if len(wrong) > most {
		wrong = append(wrong[:most:most], fmt.Sprintf("… and %d more", len(wrong)-most))
	}
	return strings.Join(wrong, "\n")
}

// TestVerdict: each kind of wrong is seen.
func TestVerdict(t *testing.T) {
	told := newHistory()
	var right []stored
	for n, key := range []string{"a", "a", "b", ""} {
		id, m := fmt.Sprint("id", n), &sent{topic: "t", key: key, body: []byte{byte(n)}}
		must(t, told.add(id, m))
		right = append(right, stored{id: id, key: key, body: m.body, place: place{"t/broker-a/0", int64(n)}})
	}
	answersLost := func(id string) int { return map[string]int{"id3": 1}[id] }
	if wrong := told.verdict(append(slices.Clone(right), right[3]), answersLost); len(wrong) > 0 {
		t.Errorf("a right history: %q", wrong)
	}
	for want, spoil := range map[string]func([]stored) []stored{
		"lost":    func(c []stored) []stored { return c[:3] },
		"phantom": func(c []stored) []stored { c[3].id = "id4"; return append(c, right[3]) },
		"altered": func(c []stored) []stored { c[3].body = []byte("other"); return c },
		"repeat":  func(c []stored) []stored { return append(c, c[2]) },
		"order":   func(c []stored) []stored { c[0].offset, c[1].offset = 1, 0; return c },
	} {
		if wrong := told.verdict(spoil(slices.Clone(right)), answersLost); len(wrong) != 1 || !strings.HasPrefix(wrong[0], want) {
			t.Errorf("%s: %q", want, wrong)
		}
	}
	elsewhere := slices.Clone(right)
	elsewhere[1].queue = "t/broker-b/0"
	if wrong := told.verdict(elsewhere, answersLost); len(wrong) != 1 {
		t.Errorf("a key in two queues: %q", wrong)
	}
}
