package rocketmq

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// claimed is a member of a group alone, which has been given the lock of a queue, and
// has fetched two messages of one ordering key.
type claimed struct {
	*claims
	queue         primitive.MessageQueue
	first, second *primitive.MessageExt
}

func newClaimed(ctx context.Context, t *testing.T) *claimed {
	t.Helper()
	c := &claimed{
		newClaims(ctx, "t", testLog(t)), primitive.MessageQueue{Topic: "t", BrokerName: "b"},
		pulled("1", orderingProperty, "k"), pulled("2", orderingProperty, "k"),
	}
	c.assignTo("m")
	if !c.answered(time.Now(), true) || !c.expect(&c.queue, []*primitive.MessageExt{c.first, c.second}) {
		t.Fatal("the queue is not had")
	}
	return c
}

// assignTo has the library ask for the queues, of a group that has these members.
func (c *claimed) assignTo(members ...string) {
	c.assign("g", "m", []*primitive.MessageQueue{&c.queue}, members)
}

// answered is the broker's answer to a lock that was asked for.
func (c *claimed) answered(asked time.Time, ours bool) (isNew bool) {
	var got []primitive.MessageQueue
	if ours {
		got = append(got, c.queue)
	}
	return c.locked(asked, []primitive.MessageQueue{c.queue}, got)
}

// A broker that was restarted has forgotten its locks, and may give one to another:
// what runs is cut short at the next renewal, and nothing else begins.
func TestLostLockEndsWhatItGuards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClaimed(t.Context(), t)
		held, done, ok := c.await(c.queue, c.first)
		if !ok {
			t.Fatal("the first has no turn")
		}
		c.answered(time.Now(), false)
		if !errors.Is(context.Cause(held), errLockLost) {
			t.Errorf("the first goes on: %v", context.Cause(held))
		}
		done(true)
		if _, _, ok := c.await(c.queue, c.second); ok {
			t.Error("the second has a turn")
		}
	})
}

// A lock is believed for a while after it was asked for, not after the answer came: the
// broker counts from before that.
func TestLockIsBelievedForAWhile(t *testing.T) {
	for name, tc := range map[string]struct {
		renewed, answer, later time.Duration
		ok                     bool
	}{
		"never renewed, soon":        {0, 0, believeLock - time.Second, true},
		"never renewed, too late":    {0, 0, believeLock + time.Second, false},
		"renewed":                    {20 * time.Second, 0, believeLock - time.Second, true},
		"renewed, answered late":     {20 * time.Second, 20 * time.Second, believeLock - 21*time.Second, true},
		"renewed, answered too late": {20 * time.Second, 20 * time.Second, believeLock - 19*time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := newClaimed(ctx, t)
				time.Sleep(tc.renewed)
				if asked := time.Now(); tc.renewed > 0 {
					time.Sleep(tc.answer)
					c.answered(asked, true)
				}
				time.Sleep(tc.later)
				if _, _, ok := c.await(c.queue, c.first); ok != tc.ok {
					t.Errorf("the first has a turn: %t, want %t", ok, tc.ok)
				}
			})
		})
	}
}

// The lock of a queue that goes to another member is given back when the results of its
// messages, and then its offset, are at the broker.
func TestLockIsGivenBackBehindTheOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClaimed(t.Context(), t)
		_, done, _ := c.await(c.queue, c.first)
		c.assignTo("a", "m") // one queue: it is another's
		free := func() int { return len(c.plan(time.Now()).free) }
		time.Sleep(time.Second)
		if c.assignTo("a", "m"); free() != 0 {
			t.Error("it is given back while its message runs")
		}
		done(true)
		if c.assignTo("a", "m"); free() != 0 {
			t.Error("it is given back before the library has noted the result")
		}
		time.Sleep(settleTime)
		if c.assignTo("a", "m"); free() != 0 {
			t.Error("it is given back before its offset is at the broker")
		}
		time.Sleep(settleTime)
		if free() != 1 {
			t.Error("it is kept")
		}
	})
}

// To the library an error answer is a group without members. It takes no queue away.
func TestGroupWithoutUsChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := newClaimed(ctx, t)
		for _, members := range [][]string{nil, {"another"}} {
			c.assignTo(members...)
			if held, done, ok := c.await(c.queue, c.first); !ok || held.Err() != nil {
				t.Errorf("members %v: the queue is gone", members)
			} else {
				done(false)
			}
		}
	})
}
