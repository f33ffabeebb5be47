package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/remora-mq/remora/test/rocketmq"
)

// shared is the cluster of all tests: one name server, one broker that flushes
// before SEND_OK. Each test leaves it running, and has topics of its own.
var shared *rocketmq.Cluster

func nameServer() string { return shared.NameServerAddrs()[0] }

// stored is a message as it lies in a queue of the broker.
type stored struct {
	id string
	place
}

type place struct {
	queue  int
	offset int64
}

func (p place) String() string { return fmt.Sprintf("queue %d, offset %d", p.queue, p.offset) }

// printed is a line of mqadmin consumeMessage (ConsumeMessageCommand and
// MessageExt.toString of RocketMQ 5.3.3).
var printed = regexp.MustCompile(`MSGID: ([0-9A-F]{32}) MessageExt \[brokerName=[^,]*, queueId=(\d+), storeSize=\d+, queueOffset=(\d+),`)

// copies lists all messages of a topic that the broker has, repeats included.
// It asks RocketMQ's own tool, which shares no code with the sidecar.
func copies(t *testing.T, topic string) []stored {
	t.Helper()
	out, err := shared.MQAdmin("consumeMessage", "-t", topic, "-c", "1000000")
	if err != nil {
		t.Fatal(err)
	}
	var all []stored
	for _, m := range printed.FindAllStringSubmatch(out, -1) {
		queue, _ := strconv.Atoi(m[2])
		offset, _ := strconv.ParseInt(m[3], 10, 64)
		all = append(all, stored{m[1], place{queue, offset}})
	}
	if held := depth(t, topic); len(all) != held {
		t.Errorf("mqadmin shows %d messages of topic %s, the queues hold %d:\n%.2000s", len(all), topic, held, out)
	}
	return all
}

// depth is how many messages the queues of a topic have had.
func depth(t *testing.T, topic string) (n int) {
	t.Helper()
	for queue := range queues {
		top, err := shared.Brokers[0].MaxOffset(topic, queue)
		if err != nil {
			t.Fatal(err)
		}
		n += int(top)
	}
	return n
}

// queues of each topic.
const queues = 4

func createTopics(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		shared.CreateTopic(t, name, queues)
	}
}

// firstAppearances is the lowest offset of each message.
func firstAppearances(copies []stored) map[string]place {
	first := map[string]place{}
	for _, c := range copies {
		if p, known := first[c.id]; !known || c.offset < p.offset {
			first[c.id] = c.place
		}
	}
	return first
}

// wantFound asks mqadmin for a message by its unique key, as an operator would.
func wantFound(t *testing.T, s *spec, id string) {
	t.Helper()
	out, err := shared.MQAdmin("queryMsgByUniqueKey", "-t", s.topic, "-i", id)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{id, s.topic, s.tag, strings.Join(s.keys, " ")} {
		if !strings.Contains(out, want) {
			t.Errorf("queryMsgByUniqueKey of %s (%s) does not show %q:\n%s", id, s, want, out)
		}
	}
}

// ledger is the producing sidecar's account.
type ledger struct {
	Balanced bool
	Total    struct {
		Accepted  int
		Confirmed int
		InSpool   map[string]int `json:"in_spool"`
	}
}

func (l *ledger) held() (n int) {
	for _, count := range l.Total.InSpool {
		n += count
	}
	return n
}

func readLedger(ctx context.Context, s *sidecar) (l ledger, err error) {
	page, err := s.Get(ctx, s.Addresses().Admin, "/v1/ledger")
	if err != nil {
		return l, err
	}
	return l, json.Unmarshal(page, &l)
}
