package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	liberrors "github.com/apache/rocketmq-client-go/v2/errors"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Statuses of our own, beside those of the broker.
const (
	statusTimeout   = "TIMEOUT"      // no answer in time
	statusConnect   = "CONNECT"      // no connection
	statusBroken    = "BROKEN"       // the connection failed after we began to write
	statusNoRoute   = "NO_ROUTE"     // no name server says where the topic is
	statusClosed    = "CLOSED"       // this producer was closed
	statusStuck     = "STUCK"        // too many abandoned calls are still in the library
	statusIllegal   = "NOT_SENT"     // the broker would be harmed by it, so it was not sent
	statusMalformed = "BAD_ANSWER"   // an answer that proves nothing
	statusOpen      = "BREAKER_OPEN" // the broker fails, so it was not sent
	statusNoQueue   = "NO_QUEUE"     // the topic has not got the queue now, so it was not sent
)

// outcome is the one place that says what an attempt to send n messages came
// to. nil means confirmed: SEND_OK, with an offset message ID for each.
//
// It never formats result: its String panics after an error (primitive/
// result.go:60), and its zero value says OK.
func outcome(result *primitive.SendResult, err error, n int) *broker.SendError {
	switch {
	case err != nil:
		return ofError(err)
	case result == nil:
		return &broker.SendError{Status: statusMalformed, Err: errors.New("no result")}
	}
	switch result.Status {
	case primitive.SendOK:
		if ids := offsetIDs(result); len(ids) != n {
			return &broker.SendError{Status: statusMalformed, Stored: true,
				Err: fmt.Errorf("SEND_OK with %d offset message IDs for %d messages", len(ids), n)}
		}
		return nil
	case primitive.SendFlushDiskTimeout:
		return &broker.SendError{Status: "FLUSH_DISK_TIMEOUT", Stored: true}
	case primitive.SendFlushSlaveTimeout:
		return &broker.SendError{Status: "FLUSH_SLAVE_TIMEOUT", Stored: true}
	case primitive.SendSlaveNotAvailable:
		return &broker.SendError{Status: "SLAVE_NOT_AVAILABLE", Stored: true}
	default: // SendUnknownError, and what a later version may add
		return &broker.SendError{Status: "STATUS_" + strconv.Itoa(int(result.Status))}
	}
}

// offsetIDs are the IDs of a single message, or of a batch joined by commas.
func offsetIDs(r *primitive.SendResult) []string {
	ids := strings.Split(r.OffsetMsgID, ",")
	if slices.Contains(ids, "") {
		return nil
	}
	return ids
}

func ofError(err error) *broker.SendError {
	if code, ok := errorCode(err); ok {
		e := ofTimer(err.Error())
		if e == nil {
			e = ofCode(code)
		}
		e.Err = err
		return e
	}
	retryable := func(status string) *broker.SendError {
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: status, Err: err}
	}
	var op *net.OpError
	switch {
	case errors.Is(err, liberrors.ErrService), errors.Is(err, liberrors.ErrNotRunning):
		return retryable(statusClosed)
	case errors.Is(err, errTopicNotExist):
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "TOPIC_NOT_EXIST", Parked: true, Err: err}
	case errors.Is(err, errNotWritable):
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "NO_PERMISSION", Parked: true, Err: err}
	case errors.Is(err, errNoNameServer), strings.HasSuffix(err.Error(), "route info not found"):
		return retryable(statusNoRoute)
	case errors.As(err, &op) && op.Op == "dial":
		return retryable(statusConnect)
	case errors.Is(err, liberrors.ErrRequestTimeout),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &broker.SendError{Status: statusTimeout, Err: err}
	}
	return &broker.SendError{Status: statusBroken, Err: err}
}

// errorCode reads the broker's code from the library's only trace of it, the
// text "CODE: 13, DESC: …" (internal/client.go:740).
func errorCode(err error) (code int, ok bool) {
	rest, ok := strings.CutPrefix(err.Error(), "CODE: ")
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, ", DESC: ")
	if !ok {
		return 0, false
	}
	code, err = strconv.Atoi(number)
	return code, err == nil
}

// ofTimer judges the answers of 5.3.3 to a message that is not due (HookUtils.
// handleScheduleMessage, before the append): their codes, MESSAGE_ILLEGAL and
// SYSTEM_ERROR, mean something else of others. nil: it is none of them.
func ofTimer(text string) *broker.SendError {
	refused := func(status string, why broker.TimerRefusal) *broker.SendError {
		return &broker.SendError{Outcome: message.OutcomeRetryable, Status: status, Timer: why}
	}
	switch {
	case strings.Contains(text, "timer message illegal"): // farther away than it takes
		return refused("TIMER_ILLEGAL", broker.TimerRefused)
	case strings.Contains(text, "accurate timer message is not enabled"):
		return refused("TIMER_DISABLED", broker.TimerRefused)
	case strings.Contains(text, "timer message is under flow control"):
		return refused("TIMER_FLOW_CONTROL", broker.TimerBusy)
	}
	return nil
}

// ofCode judges an answer by what 5.3.3 does before it (SendMessageProcessor.
// handlePutMessageResult). Codes not listed are unknown, as SYSTEM_ERROR is: an
// exception after the append, or a remote put that timed out, is answered so.
func ofCode(code int) *broker.SendError {
	retryable, permanent := message.OutcomeRetryable, message.OutcomePermanent
	switch code {
	case codeMessageIllegal:
		return &broker.SendError{Outcome: permanent, Status: "MESSAGE_ILLEGAL"}
	case codeInvalidParameter:
		return &broker.SendError{Outcome: permanent, Status: "INVALID_PARAMETER"}
	case codeNoPermission:
		return &broker.SendError{Outcome: retryable, Status: "NO_PERMISSION", Parked: true}
	case codeTopicNotExist:
		return &broker.SendError{Outcome: retryable, Status: "TOPIC_NOT_EXIST", Parked: true}
	case codeSystemBusy: // taken out of the queue unprocessed, or refused before the append
		return &broker.SendError{Outcome: retryable, Status: "SYSTEM_BUSY"}
	case codeServiceNotAvailable: // store closed, disk full, or a slave
		return &broker.SendError{Outcome: retryable, Status: "SERVICE_NOT_AVAILABLE"}
	case codeNotSupported:
		return &broker.SendError{Outcome: retryable, Status: "REQUEST_CODE_NOT_SUPPORTED"}
	case codeFlowControl:
		return &broker.SendError{Outcome: retryable, Status: "FLOW_CONTROL"}
	case codeNotLeader: // of a static topic's queue; checked first
		return &broker.SendError{Outcome: retryable, Status: "NOT_LEADER_FOR_QUEUE"}
	case codeGoAway: // it shuts down, and did not read the request
		return &broker.SendError{Outcome: retryable, Status: "GO_AWAY"}
	case codeSystemError:
		return &broker.SendError{Status: "SYSTEM_ERROR"}
	}
	return &broker.SendError{Status: "CODE_" + strconv.Itoa(code)}
}
