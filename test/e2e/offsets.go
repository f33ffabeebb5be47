package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/remora-mq/remora/test/rocketmq"
)

// queue is one of a topic.
type queue struct {
	topic string
	queue int
}

// reach waits until the broker's offsets are what they should be.
func reach(ctx context.Context, want map[queue]int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 40*time.Second, errors.New("offsets do not come"))
	defer cancel()
	for {
		var behind []string
		for q, bound := range want {
			if offset, err := offsetOf(q); err != nil || offset != bound {
				behind = append(behind, fmt.Sprintf("%v: %d, want %d (%v)", q, offset, bound, err))
			}
		}
		if len(behind) == 0 {
			return nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %s", err, strings.Join(behind, "; "))
		}
	}
}

// offsetOf is 0 where none was committed.
func offsetOf(q queue) (int64, error) {
	offset, err := shared.Brokers[0].ConsumerOffset(groupOf(q.topic), q.topic, q.queue)
	if errors.Is(err, rocketmq.ErrNoOffset) {
		return 0, nil
	}
	return offset, err
}
