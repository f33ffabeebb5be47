package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/remora-mq/remora/test/rocketmq"
)

// custody watches the broker's offsets of groups: they pass a message only after its
// 200, or after the broker has another copy of it for the group. It reads queues as a
// consumer does, by code that the sidecar does not have.
type custody struct {
	facts   *history
	watched []*passed
	delayed []*passed      // the queues where what is sent back waits for its time
	back    map[string]int // copies that were sent back, by message ID
	seen    map[string]int // entries that the offsets have passed, by message ID
	found   []entry        // of them, those to be judged
	looks   int
}

// passed is a queue, and up to where it was read.
type passed struct {
	topic, group string
	queue        int
	upTo         int64
}

// delayLevels are RocketMQ's, each with a queue of the topic for what is delayed.
const (
	delayLevels  = 18
	delayedTopic = "SCHEDULE_TOPIC_XXXX"
)

// newCustody begins where the broker is now.
func newCustody(facts *history, topics ...string) (*custody, error) {
	c := &custody{facts: facts, back: map[string]int{}, seen: map[string]int{}}
	for _, topic := range topics {
		for q := range queues {
			c.watched = append(c.watched, &passed{topic: topic, group: groupOf(topic), queue: q})
		}
		c.watched = append(c.watched, &passed{topic: "%RETRY%" + groupOf(topic), group: groupOf(topic)})
	}
	for level := range delayLevels {
		top, err := shared.Brokers[0].MaxOffset(delayedTopic, level)
		if err != nil {
			return nil, err
		}
		c.delayed = append(c.delayed, &passed{topic: delayedTopic, queue: level, upTo: top})
	}
	return c, nil
}

// watch looks until ctx is done. A broker that is down is asked again.
func (c *custody) watch(ctx context.Context) {
	for pause(ctx, 300*time.Millisecond) == nil {
		if c.look() == nil {
			c.looks++
		}
	}
}

// entry is one that an offset has passed; from then on it is the group's no more.
type entry struct {
	id string
	at time.Time
	of *passed
}

// look complains of what was passed too early. An error is of a broker that does not
// answer.
func (c *custody) look() error {
	for _, p := range c.watched {
		offset, err := shared.Brokers[0].ConsumerOffset(p.group, p.topic, p.queue)
		at := time.Now()
		if errors.Is(err, rocketmq.ErrNoOffset) {
			continue
		}
		if err == nil {
			err = p.read(offset, func(id string) { c.found = append(c.found, entry{id, at, p}) })
		}
		if err != nil {
			return err
		}
	}
	for _, p := range c.delayed {
		top, err := shared.Brokers[0].MaxOffset(p.topic, p.queue)
		if err == nil {
			err = p.read(top, func(id string) { c.back[id]++ })
		}
		if err != nil {
			return err
		}
	}
	c.judge()
	return nil
}

func (c *custody) judge() {
	for _, e := range c.found {
		c.seen[e.id]++
		if c.back[e.id] < c.seen[e.id] && !c.facts.doneBy(e.id, e.at) {
			c.facts.complain("acked: the offset of %s passed %s in %s/%d, which has no 200, %d of %d copies were sent back",
				e.of.group, e.id, e.of.topic, e.of.queue, c.back[e.id], c.seen[e.id])
		}
	}
	c.found = nil
}

// read takes the IDs of the messages before an offset that were not read yet.
func (p *passed) read(before int64, take func(id string)) error {
	for p.upTo < before {
		all, err := shared.Brokers[0].Pull(p.topic, p.queue, p.upTo)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return fmt.Errorf("%s/%d shows nothing at %d, before %d", p.topic, p.queue, p.upTo, before)
		}
		for _, m := range all {
			if m.Offset >= before {
				break
			}
			take(m.Properties["UNIQ_KEY"])
			p.upTo = m.Offset + 1
		}
	}
	return nil
}

// doneBy reports whether a message was answered 200 by then.
func (h *history) doneBy(id string, then time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls[id] {
		if c.answered && !c.ended.After(then) {
			return true
		}
	}
	return false
}

// level waits until the offsets of the groups are at the ends of their queues: they
// are pushed each 5 s.
func level(ctx context.Context, topics ...string) error {
	want := map[queue]int64{}
	for _, topic := range topics {
		for q := range queues {
			top, err := shared.Brokers[0].MaxOffset(topic, q)
			if err != nil {
				return err
			}
			want[queue{topic, q}] = top
		}
	}
	return reach(ctx, want)
}

// agreed has mqadmin say that the group of a topic is not behind.
func agreed(ctx context.Context, topic string) error {
	for {
		out, err := shared.MQAdmin("consumerProgress", "-g", groupOf(topic))
		if err == nil {
			err = nothingBehind(out, topic)
		}
		if err == nil || pause(ctx, time.Second) != nil {
			return err
		}
	}
}

// nothingBehind reads what mqadmin prints (ConsumerProgressSubCommand of RocketMQ
// 5.3.3): topic, broker, queue, its offset, the group's, and the difference.
func nothingBehind(printed, topic string) error {
	rows := 0
	for line := range strings.Lines(printed) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != topic && f[0] != "%RETRY%"+groupOf(topic) {
			continue
		}
		if f[5] != "0" || f[3] != f[4] {
			return fmt.Errorf("mqadmin consumerProgress: %s/%s is at %s of %s", f[0], f[2], f[4], f[3])
		}
		rows++
	}
	if rows != queues+1 || !strings.Contains(printed, "Consume Diff Total: 0\n") {
		return fmt.Errorf("mqadmin consumerProgress shows %d queues, want %d:\n%s", rows, queues+1, printed)
	}
	return nil
}
