package embedded

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// RocketMQ's limits (5.3.3, MessageStoreConfig maxMessageSize and the signed
// 16-bit length of the properties; Java TopicValidator and Validators).
const (
	maxMessage    = 4 << 20 // bytes of one body, or of a whole batch
	maxBatch      = 1024    // messages of one call; ours: they share one commit
	maxProperties = 32767
	maxGroup      = 100
)

var (
	errMixedTopics = errors.New("a batch has to be of one topic")
	errMixedKeys   = errors.New("a batch has to be of one ordering key, or of none")
)

// check refuses what RocketMQ would, with its words.
func (b *Broker) check(msgs []*message.Message) error {
	first := msgs[0]
	if err := validName(first.Topic, message.MaxTopic); err != nil {
		return failure(statusBadParameter, fmt.Errorf("topic %q: %w", first.Topic, err))
	}
	if err := checkBatch(msgs); err != nil {
		return failure(statusIllegal, err)
	}
	if b.opts.FixedTopics && !b.hasTopic(first.Topic) {
		return failure(statusNoTopic, fmt.Errorf("topic %s does not exist, create it", first.Topic))
	}
	return nil
}

func checkBatch(msgs []*message.Message) error {
	if len(msgs) > maxBatch {
		return fmt.Errorf("%d messages in a batch: at most %d are allowed", len(msgs), maxBatch)
	}
	total := 0
	for _, m := range msgs {
		properties := m.Size() - len(m.Body) - len(m.Topic)
		switch {
		case m.Topic != msgs[0].Topic:
			return errMixedTopics
		case m.OrderingKey != msgs[0].OrderingKey:
			return errMixedKeys
		case len(m.Body) == 0:
			return fmt.Errorf("message %s has no body", m.ID)
		case properties > maxProperties:
			return fmt.Errorf("message %s has %d bytes of properties: at most %d are allowed", m.ID, properties, maxProperties)
		}
		total += len(m.Body)
		if len(msgs) > 1 { // a batch travels as one body, properties and all
			total += properties
		}
	}
	if total > maxMessage {
		return fmt.Errorf("%d bytes: at most %d are allowed", total, maxMessage)
	}
	return nil
}

var errSystemTopic = errors.New("the name belongs to the broker")

// validName holds names of topics and groups to RocketMQ's characters.
func validName(name string, most int) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > most:
		return fmt.Errorf("the name has %d characters: at most %d are allowed", len(name), most)
	case strings.IndexFunc(name, notName) >= 0:
		return errors.New("the name has characters other than letters, digits, '%', '|', '_' and '-'")
	case slices.Contains(systemTopics, name) || strings.HasPrefix(name, "rmq_sys_"):
		return errSystemTopic
	}
	return nil
}

var systemTopics = []string{
	"TBW102", "SCHEDULE_TOPIC_XXXX", "BenchmarkTest", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRACE_TOPIC",
	"RMQ_SYS_TRANS_OP_HALF_TOPIC", "TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT",
}

func notName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("%|_-", r))
}

var errSQL = errors.New("the embedded broker has no SQL filters: use tags, or a RocketMQ with enablePropertyFilter=true")

// checkSubscription refuses what the broker cannot do.
func checkSubscription(sub broker.Subscription) error {
	if err := validName(sub.Topic, message.MaxTopic); err != nil {
		return fmt.Errorf("topic %q: %w", sub.Topic, err)
	}
	if err := validName(sub.Group, maxGroup); err != nil {
		return fmt.Errorf("group %q: %w", sub.Group, err)
	}
	if sub.SQL != "" {
		return errSQL
	}
	return nil
}
