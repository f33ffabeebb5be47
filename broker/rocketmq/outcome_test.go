package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	liberrors "github.com/apache/rocketmq-client-go/v2/errors"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

const (
	unknown   = message.OutcomeUnknown
	retryable = message.OutcomeRetryable
	permanent = message.OutcomePermanent
)

func libraryCode(code int) error { return fmt.Errorf("CODE: %d, DESC: %s", code, "why, oh why") }

func TestOutcome(t *testing.T) {
	id := "7F00000100002A9F0000000000000000"
	sent := func(s primitive.SendStatus, ids string) *primitive.SendResult {
		return &primitive.SendResult{Status: s, OffsetMsgID: ids}
	}
	failed := sent(primitive.SendUnknownError, "") // what the library gives beside an error
	dial := &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	for _, c := range []struct {
		name   string
		result *primitive.SendResult
		err    error
		n      int
		want   broker.SendError
	}{
		{"no result", nil, nil, 1, broker.SendError{Status: "BAD_ANSWER"}},
		{"the zero result", &primitive.SendResult{}, nil, 1, broker.SendError{Status: "BAD_ANSWER", Stored: true}},
		{"too few IDs for a batch", sent(primitive.SendOK, id), nil, 2, broker.SendError{Status: "BAD_ANSWER", Stored: true}},
		{"an empty ID in a batch", sent(primitive.SendOK, id+","), nil, 2, broker.SendError{Status: "BAD_ANSWER", Stored: true}},
		{"too many IDs", sent(primitive.SendOK, id+","+id), nil, 1, broker.SendError{Status: "BAD_ANSWER", Stored: true}},
		{"flush disk timeout", sent(primitive.SendFlushDiskTimeout, id), nil, 1, broker.SendError{Status: "FLUSH_DISK_TIMEOUT", Stored: true}},
		{"flush slave timeout", sent(primitive.SendFlushSlaveTimeout, id), nil, 1, broker.SendError{Status: "FLUSH_SLAVE_TIMEOUT", Stored: true}},
		{"slave not available", sent(primitive.SendSlaveNotAvailable, id), nil, 1, broker.SendError{Status: "SLAVE_NOT_AVAILABLE", Stored: true}},
		{"unknown status", failed, nil, 1, broker.SendError{Status: "STATUS_4"}},
		{"status of the future", sent(17, id), nil, 1, broker.SendError{Status: "STATUS_17"}},
		{"an error beside SEND_OK", sent(primitive.SendOK, id), errors.New("odd"), 1, broker.SendError{Status: "BROKEN"}},
		{"timeout", failed, liberrors.ErrRequestTimeout, 1, broker.SendError{Status: "TIMEOUT"}},
		{"given up", nil, fmt.Errorf("gave up: %w", context.DeadlineExceeded), 1, broker.SendError{Status: "TIMEOUT"}},
		{"cancelled", nil, fmt.Errorf("gave up: %w", context.Canceled), 1, broker.SendError{Status: "TIMEOUT"}},
		{"connection refused", failed, dial, 1, broker.SendError{Status: "CONNECT", Outcome: retryable}},
		{"write failed", failed, &net.OpError{Op: "write", Err: os.ErrClosed}, 1, broker.SendError{Status: "BROKEN"}},
		{"client shut down", failed, liberrors.ErrService, 1, broker.SendError{Status: "CLOSED", Outcome: retryable}},
		{"client not started", failed, liberrors.ErrNotRunning, 1, broker.SendError{Status: "CLOSED", Outcome: retryable}},
		{"no queue", failed, errors.New("the topic=t route info not found"), 1, broker.SendError{Status: "NO_ROUTE", Outcome: retryable}},
		{"no name server", failed, fmt.Errorf("%w: %w", errNoNameServer, dial), 1, broker.SendError{Status: "NO_ROUTE", Outcome: retryable}},
		{"no such topic", failed, fmt.Errorf("find: %w", errTopicNotExist), 1, broker.SendError{Status: "TOPIC_NOT_EXIST", Outcome: retryable, Parked: true}},
		{"read-only", failed, fmt.Errorf("find: %w", errNotWritable), 1, broker.SendError{Status: "NO_PERMISSION", Outcome: retryable, Parked: true}},
		{"code 1", failed, libraryCode(1), 1, broker.SendError{Status: "SYSTEM_ERROR"}},
		{"code 2", failed, libraryCode(2), 1, broker.SendError{Status: "SYSTEM_BUSY", Outcome: retryable}},
		{"code 3", failed, libraryCode(3), 1, broker.SendError{Status: "REQUEST_CODE_NOT_SUPPORTED", Outcome: retryable}},
		{"code 13", failed, libraryCode(13), 1, broker.SendError{Status: "MESSAGE_ILLEGAL", Outcome: permanent}},
		{"code 14", failed, libraryCode(14), 1, broker.SendError{Status: "SERVICE_NOT_AVAILABLE", Outcome: retryable}},
		{"code 16", failed, libraryCode(16), 1, broker.SendError{Status: "NO_PERMISSION", Outcome: retryable, Parked: true}},
		{"code 17", failed, libraryCode(17), 1, broker.SendError{Status: "TOPIC_NOT_EXIST", Outcome: retryable, Parked: true}},
		{"code 29", failed, libraryCode(29), 1, broker.SendError{Status: "INVALID_PARAMETER", Outcome: permanent}},
		{"code 215", failed, libraryCode(215), 1, broker.SendError{Status: "FLOW_CONTROL", Outcome: retryable}},
		{"code 501", failed, libraryCode(501), 1, broker.SendError{Status: "NOT_LEADER_FOR_QUEUE", Outcome: retryable}},
		{"code 1500", failed, libraryCode(1500), 1, broker.SendError{Status: "GO_AWAY", Outcome: retryable}},
		{"a negative code", failed, libraryCode(-1006), 1, broker.SendError{Status: "CODE_-1006"}},
		{"no code after all", failed, errors.New("CODE: none"), 1, broker.SendError{Status: "BROKEN"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := outcome(c.result, c.err, c.n)
			if got == nil {
				t.Fatal("confirmed")
			}
			if got.Outcome != c.want.Outcome || got.Status != c.want.Status || got.Stored != c.want.Stored || got.Parked != c.want.Parked {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if c.err != nil && !errors.Is(got, c.err) {
				t.Errorf("error %v does not wrap the cause", got)
			}
		})
	}
	for n, ids := range map[int]string{1: id, 3: id + "," + id + "," + id} {
		if e := outcome(sent(primitive.SendOK, ids), nil, n); e != nil {
			t.Errorf("SEND_OK with %d IDs: %v", n, e)
		}
	}
}

// Whatever the broker may add, a code that is not listed is never confirmed,
// never permanent and never said not to have stored.
func TestUnlistedCodesAreUnknown(t *testing.T) {
	listed := map[int]bool{2: true, 3: true, 13: true, 14: true, 16: true, 17: true, 29: true, 215: true, 501: true, 1500: true}
	for code := -10; code < 3100; code++ {
		if e := outcome(nil, libraryCode(code), 1); e == nil || !listed[code] && (e.Outcome != unknown || e.Parked) {
			t.Errorf("code %d: %v", code, e)
		}
	}
}
