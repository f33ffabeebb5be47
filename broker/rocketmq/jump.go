package rocketmq

import (
	"fmt"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/remora-mq/remora/broker"
)

// offsetIllegal is what the library logs when a broker has nothing at the offset of a
// queue, before it goes on where the broker says (push_consumer.go:890-902): it has no
// other way to tell.
const offsetIllegal = "the pull request offset illegal"

// jumps is who is to be told of that, by group and topic. The library's log is one
// for the process.
var jumps = jumpTable{all: map[[2]string]*jumpEar{}}

type jumpTable struct {
	mu  sync.Mutex
	all map[[2]string]*jumpEar
}

// jumpEar listens for one consumer.
type jumpEar struct{ tell func(broker.Jump) }

// listen has tell called until stop; of two listeners for a group and topic the later
// one is told.
func (t *jumpTable) listen(group, topic string, tell func(broker.Jump)) (stop func()) {
	ear := &jumpEar{tell}
	keys := [][2]string{{group, topic}, {group, retryTopicPrefix + group}}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		t.all[key] = ear
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, key := range keys {
			if t.all[key] == ear {
				delete(t.all, key)
			}
		}
	}
}

// heard tells whose request it was that the library has logged.
func (t *jumpTable) heard(fields map[string]any) {
	request, _ := fields[rlog.LogKeyPullRequest].(string)
	group, jump, ok := parseJump(request)
	if !ok {
		return
	}
	t.mu.Lock()
	ear := t.all[[2]string{group, jump.Topic}]
	t.mu.Unlock()
	if ear != nil {
		ear.tell(jump)
	}
}

// parseJump reads how the library writes a pull request (consumer.go:223-226). No name
// has a blank or a comma.
func parseJump(request string) (group string, jump broker.Jump, ok bool) {
	var name string
	var queue int
	words := strings.NewReplacer(",", " ", "]", " ", "brokerName=", "", "queueId=", "", "nextOffset=", "").Replace(request)
	_, err := fmt.Sscanf(words, "[ConsumerGroup: %s Topic: %s MessageQueue: %s %d %d", &group, &jump.Topic, &name, &queue, &jump.From)
	jump.Queue = fmt.Sprintf("%s/%d", name, queue)
	return group, jump, err == nil
}
