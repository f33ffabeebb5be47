package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/hooks"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
)

const (
	// pullThreshold and pullBatch: fetching stops above 24 messages of a queue.
	// The library's channel takes 32 batches; were it ever full, the pull would
	// block, and after 120 s the queue would be dropped with the results of all
	// running deliveries (consumer.go:700, process_queue.go:85).
	pullThreshold    = 24
	pullBatch        = 16
	pullThresholdMiB = 16 // at most: see queueShare
	// orderedThreshold lets messages of other keys pass those that wait for theirs.
	// The channel does not fill: there is a goroutine for each message.
	orderedThreshold = 1000
	// parkedQueues is for how many queues there is room for all that is fetched, in
	// goroutines: the library does not know what was parked, or waits for its turn.
	// acker.slots has the bound.
	parkedQueues      = 64
	neverConsumeLimit = 1000 * time.Hour // at the limit it sends back by itself
	// settleTime lets the library note the last results, and its offsets leave
	// the socket: it has no call that waits for either.
	settleTime = 150 * time.Millisecond
)

// member is one membership in the group: a started library consumer.
type member struct {
	client pushClient
	acker  *acker
	keys   Keys
	unlock func() // returns when the locks of queues were given back

	relay *relay // of the library
}

// pushClient is what a member needs of the library's push consumer.
type pushClient interface {
	Subscribe(topic string, selector consumer.MessageSelector,
		callback func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error)) error
	Start() error
	PersistConsumerOffset() error
	Resume() // rebalances
	Shutdown() error
}

// newMember starts a library consumer of a new name: one that failed to start
// is dead.
func (c *Consumer) newMember(ctx context.Context, r *receivers) (*member, error) {
	a := newAcker(ctx, c.sub, r, c.log)
	keys := c.remoting.keys()
	names := newRelay(c.names, c.log)
	client, err := c.newClient(a, keys, names.addrs())
	if err != nil {
		names.close()
		return nil, err
	}
	err = client.Subscribe(c.sub.Topic, messageSelector(c.sub), a.handle)
	if err == nil {
		err = client.Start()
	}
	if err != nil {
		// A client that had begun has shut itself down (push_consumer.go:237-244);
		// of one that had not, Shutdown would panic.
		names.close()
		return nil, fmt.Errorf("start rocketmq consumer: %w", err)
	}
	return &member{client, a, keys, c.keepLocks(client, a), names}, nil //nolint:contextcheck // locks are kept until it has left
}

// keepLocks starts what an ordered subscription needs.
func (c *Consumer) keepLocks(client pushClient, a *acker) (stop func()) {
	if a.order == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	table := c.newBrokerLocks()
	var running sync.WaitGroup
	running.Go(func() { newLocks(a.order, table, client.Resume, c.log).run(ctx) })
	return func() { cancel(); running.Wait(); table.remoting.close() }
}

func (c *Consumer) newClient(a *acker, keys Keys, names []string) (pushClient, error) {
	tcp, applied := tcpOption[consumer.Option](consumerTimeouts)
	fetch, strategy := pullThreshold, consumer.AllocateStrategy(consumer.AllocateByAveragely)
	if a.order != nil {
		fetch, strategy = orderedThreshold, a.order.assign
	}
	client, err := consumer.NewPushConsumer(
		consumer.WithNameServer(names),
		consumer.WithGroupName(c.sub.Group),
		consumer.WithInstance(newInstance(c.options.Instance, "consumer")),
		consumer.WithCredentials(keys.library()),
		consumer.WithConsumerModel(consumer.Clustering),
		// The default starts at the end, also when the broker lost its offsets.
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumeMessageBatchMaxSize(1),
		consumer.WithConsumeGoroutineNums(c.sub.Concurrency+parkedQueues*(fetch+pullBatch)),
		consumer.WithStrategy(strategy),
		consumer.WithPullBatchSize(pullBatch),
		consumer.WithPullThresholdForQueue(int64(fetch)),
		consumer.WithPullThresholdSizeForQueue(queueShare(c.sub.Prefetch, c.queues)),
		consumer.WithConsumeTimeout(neverConsumeLimit),
		consumer.WithMaxReconsumeTimes(-1),
		consumer.WithFilterMessageHook([]hooks.FilterMessageHook{a.fetched}),
		tcp,
	)
	return client, errors.Join(err, applied())
}

// queueShare is a queue's part of what may be fetched ahead, as the library takes it:
// above so many whole MiB of bodies of a queue it fetches no more, so it stops at one
// more than that, and at 2 at the least. The pull before brings up to 256 KiB, or one
// message. Its threshold for a topic does nothing (push_consumer.go:526-535).
func queueShare(prefetch int64, queues int) (mib int) {
	if prefetch == 0 || queues == 0 {
		return pullThresholdMiB
	}
	share := prefetch / int64(queues) >> 20
	return int(min(max(share-1, 1), pullThresholdMiB))
}

func messageSelector(s broker.Subscription) consumer.MessageSelector {
	if s.SQL != "" {
		return consumer.MessageSelector{Type: consumer.SQL92, Expression: s.SQL}
	}
	if len(s.Tags) == 0 {
		return consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
	}
	return consumer.MessageSelector{Type: consumer.TAG, Expression: strings.Join(s.Tags, " || ")}
}

// restTime is how long what an ordered subscription has at its receiver may go on when
// the keys change, with nothing else of it being delivered.
const restTime = time.Minute

// rest lets what has its turn in an ordered subscription end.
func (m *member) rest(ctx context.Context) {
	if m.acker.order == nil {
		return
	}
	m.acker.log.Info("the keys have changed: what is being delivered may end first", "at_most", restTime)
	ctx, cancel := context.WithTimeout(ctx, restTime)
	defer cancel()
	m.acker.order.rest(ctx)
}

// leave is called when the member's context is done. Nothing more is fetched
// or delivered from that moment on; the library's Suspend would do less, and
// races with its own goroutines. Its Shutdown waits for nobody and discards what
// running callbacks return, so it comes last. Where another member is to come, the
// receivers are not waited for.
func (m *member) leave(goesOn bool) error {
	m.acker.leave(goesOn)
	time.Sleep(settleTime)
	err := m.client.PersistConsumerOffset()
	time.Sleep(settleTime)
	err = errors.Join(err, m.client.Shutdown())
	m.relay.close()
	m.unlock()
	return err
}
