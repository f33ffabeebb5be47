package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Options configure a Broker. Only Dir is required.
type Options struct {
	// Dir holds the database; it is created if it does not exist.
	Dir string
	// Retention bounds what is kept of consumed messages.
	Retention Retention
	// Queues is the number of queues of a new topic; 0: 4, as RocketMQ's
	// defaultTopicQueueNums makes them for producers. At most 64.
	Queues int
	// FixedTopics refuses messages of topics that CreateTopic did not make, as
	// RocketMQ does with autoCreateTopicEnable=false. Else the first message
	// makes its topic.
	FixedTopics bool
	// Room says why the volume has no room for messages; nil: it has. It is asked
	// before each attempt to store some, and must not block. A broker's disk that
	// is full is a status (SERVICE_NOT_AVAILABLE); ours would end the process.
	Room func() error
	// Logger gets what no caller can be told; nil: discarded.
	Logger *slog.Logger

	now func() time.Time // nil: time.Now
}

// Retention bounds what is kept of messages that every group has passed.
type Retention struct {
	Age   time.Duration // since they were stored; 0: 72 h, as RocketMQ's fileReservedTime
	Bytes int64         // of all topics together; 0: 1 GiB
}

const (
	defaultQueues    = 4
	maxQueues        = 64
	defaultRetention = 72 * time.Hour
	defaultKeepBytes = 1 << 30
)

var errNoDir = errors.New("no directory given")

func (o Options) withDefaults() Options {
	if o.now == nil {
		o.now = time.Now
	}
	if o.Queues == 0 {
		o.Queues = defaultQueues
	}
	if o.Retention.Age == 0 {
		o.Retention.Age = defaultRetention
	}
	if o.Retention.Bytes == 0 {
		o.Retention.Bytes = defaultKeepBytes
	}
	if o.Room == nil {
		o.Room = func() error { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Dir == "":
		return errNoDir
	case o.Queues < 1 || o.Queues > maxQueues:
		return fmt.Errorf("%d queues a topic are not within 1 and %d", o.Queues, maxQueues)
	case o.Retention.Age < 0 || o.Retention.Bytes < 0:
		return fmt.Errorf("retention of %s and %d bytes: neither may be negative", o.Retention.Age, o.Retention.Bytes)
	}
	return nil
}
