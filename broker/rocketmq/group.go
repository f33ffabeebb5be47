package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// groupConfigTime is how long a group's configuration is believed.
const groupConfigTime = time.Minute

// errNoRetryQueues: such a group's send-backs are confirmed and thrown away
// (AbstractSendMessageProcessor.consumerSendMsgBack, 5.3.3).
var errNoRetryQueues = errors.New("the group has retryQueueNums 0: the broker would drop what is sent back; set it to 1")

// groupConfigs knows whether a broker keeps what a group sends back.
type groupConfigs struct {
	remoting *remoting
	now      func() time.Time

	mu    sync.Mutex
	until map[string]time.Time // address → found good until
}

func newGroupConfigs(r *remoting) *groupConfigs {
	return &groupConfigs{remoting: r, now: time.Now, until: map[string]time.Time{}}
}

func (g *groupConfigs) takesBack(ctx context.Context, addr, group string) error {
	g.mu.Lock()
	fresh := g.now().Before(g.until[addr])
	g.mu.Unlock()
	if fresh {
		return nil
	}
	queues, err := g.retryQueues(ctx, addr, group)
	if code, ok := codeOf(err); ok && (code == codeNoPermission || code == codeGroupNotExist) {
		// Keys that may not read it leave us the default, 1. A group that does not
		// exist is refused by the send-back itself.
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration of group %s: %w", group, err)
	}
	if queues <= 0 {
		return errNoRetryQueues
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until[addr] = g.now().Add(groupConfigTime)
	return nil
}

type groupConfig struct {
	RetryQueues int `json:"retryQueueNums"`
}

// retryQueues asks a 5.x broker for the group, and an older one for all groups.
func (g *groupConfigs) retryQueues(ctx context.Context, addr, group string) (int, error) {
	answer, err := g.remoting.call(ctx, addr, newCommand(reqGroupConfig, map[string]string{"group": group}, nil))
	if code, ok := codeOf(err); ok && code == codeNotSupported {
		return g.retryQueuesOfAll(ctx, addr, group)
	}
	if err != nil {
		return 0, err
	}
	var c groupConfig
	err = json.Unmarshal(answer.body, &c)
	return c.RetryQueues, err
}

func (g *groupConfigs) retryQueuesOfAll(ctx context.Context, addr, group string) (int, error) {
	answer, err := g.remoting.call(ctx, addr, newCommand(reqAllGroupConfigs, nil, nil))
	if err != nil {
		return 0, err
	}
	var all struct {
		Table map[string]groupConfig `json:"subscriptionGroupTable"`
	}
	if err := json.Unmarshal(answer.body, &all); err != nil {
		return 0, err
	}
	c, ok := all.Table[group]
	if !ok {
		return 0, fmt.Errorf("the broker does not know the group")
	}
	return c.RetryQueues, nil
}
