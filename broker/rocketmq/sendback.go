package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
)

// sendBackPause is the least time between two tries with one message, and with
// one broker when a failure may have left a copy.
const sendBackPause = time.Minute

// busyPause is the least time until a broker that was busy is asked for the same
// message again.
const busyPause = time.Second

// delayLevels are those of MessageStoreConfig.messageDelayLevel; level n is
// element n-1.
var delayLevels = []time.Duration{
	1 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	1 * time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute,
	6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute, 10 * time.Minute,
	20 * time.Minute, 30 * time.Minute, 1 * time.Hour, 2 * time.Hour,
}

const (
	levelDeadLetter = -1
	neverByCount    = math.MaxInt32 // dead letters are our decision, not the broker's
)

func delayLevel(b broker.SendBack) int {
	if b.DeadLetter {
		return levelDeadLetter
	}
	for i, d := range delayLevels {
		if b.Delay <= d {
			return i + 1
		}
	}
	return len(delayLevels)
}

// sendBacks asks brokers to take messages back, and spares those that fail.
type sendBacks struct {
	group    string
	remoting *remoting
	names    nameServers
	groups   *groupConfigs
	now      func() time.Time

	mu       sync.Mutex
	refused  map[origin]time.Time // failed, by message: no try before
	doubtful map[string]time.Time // failed and may have left a copy, by broker
}

func newSendBacks(group string, r *remoting, names nameServers) *sendBacks {
	return &sendBacks{
		group: group, remoting: r, names: names, now: time.Now,
		groups:   newGroupConfigs(r),
		refused:  map[origin]time.Time{},
		doubtful: map[string]time.Time{},
	}
}

func (s *sendBacks) send(ctx context.Context, o origin, topic string, back broker.SendBack) error {
	if err := s.allowed(o); err != nil {
		return err
	}
	addr, err := s.address(ctx, o, topic)
	if err == nil {
		err = s.groups.takesBack(ctx, addr, s.group)
	}
	if err != nil {
		return err // nothing was asked of the broker yet
	}
	_, err = s.remoting.call(ctx, addr, s.request(o, topic, back))
	s.note(o, err)
	if isBusy(err) {
		return fmt.Errorf("%w: %w", broker.ErrBusy, err)
	}
	return err
}

// request has no unitMode and no retry topic of its own: the broker finds both.
func (s *sendBacks) request(o origin, topic string, back broker.SendBack) command {
	return newCommand(reqSendBack, map[string]string{
		"group":             s.group,
		"offset":            strconv.FormatInt(o.offset, 10),
		"delayLevel":        strconv.Itoa(delayLevel(back)),
		"originMsgId":       o.messageID,
		"originTopic":       topic,
		"unitMode":          "false",
		"maxReconsumeTimes": strconv.Itoa(neverByCount),
	}, nil)
}

// address prefers the broker's present master to the host that the message was
// stored under: a slave may have taken over, with the same offsets.
func (s *sendBacks) address(ctx context.Context, o origin, topic string) (string, error) {
	route, err := s.names.route(ctx, topic)
	if err == nil {
		if addr := route.master(o.broker); addr != "" {
			return addr, nil
		}
		return "", fmt.Errorf("broker %s has no master now", o.broker)
	}
	if ctx.Err() != nil || o.storeHost == "" {
		return "", err
	}
	return o.storeHost, nil
}

func (s *sendBacks) allowed(o origin) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if wait := s.refused[o].Sub(now); wait > 0 {
		return fmt.Errorf("%w: it failed a moment ago; the next try is possible in %v", broker.ErrNotAsked, wait.Round(time.Second))
	}
	if wait := s.doubtful[o.broker].Sub(now); wait > 0 {
		return fmt.Errorf("%w: broker %s failed to confirm another message; the next try is possible in %v", broker.ErrNotAsked, o.broker, wait.Round(time.Second))
	}
	return nil
}

func (s *sendBacks) note(o origin, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for key, until := range s.refused {
		if until.Before(now) {
			delete(s.refused, key)
		}
	}
	switch {
	case err == nil:
		delete(s.refused, o)
		delete(s.doubtful, o.broker)
	case certainlyNotSent(err): // the broker is away; a try costs nothing
	case isBusy(err):
		s.refused[o] = now.Add(busyPause)
	case leavesNoCopy(err):
		s.refused[o] = now.Add(sendBackPause)
	default:
		s.refused[o] = now.Add(sendBackPause)
		s.doubtful[o.broker] = now.Add(sendBackPause)
	}
}

// leavesNoCopy reports answers that 5.3.3 gives before it stores anything.
func leavesNoCopy(err error) bool {
	re, ok := errors.AsType[*responseError](err)
	if !ok {
		return false
	}
	switch re.Code {
	case codeNoPermission, codeGroupNotExist, codeNotSupported, codeGoAway:
		return true
	case codeSystemError:
		return strings.HasPrefix(re.Remark, "look message by offset failed") || strings.HasSuffix(re.Remark, "not exist")
	}
	return false
}

// isBusy reports an answer that 5.3.3 gives before it looks at the request: that was
// taken out of the queue unprocessed, or never got into it. What a busy store says of
// a message that was to be taken back comes as SYSTEM_ERROR.
func isBusy(err error) bool {
	code, ok := codeOf(err)
	return ok && (code == codeSystemBusy || code == codeFlowControl)
}
