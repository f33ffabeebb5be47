package push

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// Disposition is what the caller has to do with the message.
type Disposition uint8

const (
	// Retry: the attempt failed and counts. It is the zero value: what is
	// forgotten is delivered again.
	Retry Disposition = iota
	// Done: the handler answered a whole 200.
	Done
	// Wait: the handler asks for a pause of RetryAfter. Costs no attempt.
	Wait
	// DeadLetter: the handler refuses the message for good.
	DeadLetter
	// Unreachable: the handler saw nothing of the call. Costs no attempt.
	Unreachable
	// Leased: the handler has taken the message and will say by the call's ID what
	// became of it. No ack.
	Leased
)

func (d Disposition) String() string {
	return [...]string{"retry", "done", "wait", "dead_letter", "unreachable", "leased"}[d]
}

// Answer is what a call came to. The zero Answer is a failed attempt.
//
// Where Late is set, the call came to its deadline and was not answered whole; it has to
// be called once, and waits for the answer until ctx is done. Until then the handler
// is not told that the call has ended.
type Answer struct {
	Disposition Disposition
	Status      int           // HTTP status; 0: no whole response
	RetryAfter  time.Duration // of Wait, ≥ 0, as the handler asked
	Lease       time.Duration // of Leased, as the handler asked; 0: as long as may be
	Err         error         // why it is not Done; nil when Done. Of Leased: what is wrong with MQ-Lease
	Late        func(ctx context.Context) Answer
}

// Code is the answer's label in metrics: the status, or one of "timeout",
// "unreachable" and "broken".
func (a Answer) Code() string {
	switch {
	case a.Status == http.StatusOK: // nearly all
		return "200"
	case a.Status != 0:
		return strconv.Itoa(a.Status)
	case a.Disposition == Unreachable:
		return "unreachable"
	case timedOut(a.Err):
		return "timeout"
	default:
		return "broken"
	}
}

// read makes an Answer of a whole response.
func (c *Client) read(h *fasthttp.ResponseHeader) Answer {
	a := Answer{Status: h.StatusCode()}
	switch {
	case strings.EqualFold(strings.TrimSpace(string(h.Peek("MQ-Disposition"))), "dead-letter"):
		a.Disposition, a.Err = DeadLetter, fmt.Errorf("handler answered %d with MQ-Disposition: dead-letter", a.Status)
	case c.acks[a.Status]:
		a.Disposition = Done
	case a.Status == http.StatusAccepted:
		a.Disposition = Leased
		a.Lease, a.Err = parseLease(string(h.Peek("MQ-Lease")))
	case a.Status == http.StatusUnprocessableEntity:
		a.Disposition, a.Err = DeadLetter, fmt.Errorf("handler answered 422")
	default:
		a.Err = fmt.Errorf("handler answered %d%s", a.Status, advice(a.Status))
		if after, asks := asksToWait(h); asks {
			a.Disposition, a.RetryAfter = Wait, after
			a.Err = fmt.Errorf("handler answered %d and asks to wait %v", a.Status, after)
		}
	}
	return a
}

// asksToWait reads how long a handler that is busy asks to be left alone.
func asksToWait(h *fasthttp.ResponseHeader) (after time.Duration, asks bool) {
	if status := h.StatusCode(); status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return 0, false
	}
	return parseRetryAfter(string(h.Peek("Retry-After")), time.Now())
}

// advice tells the operator of answers that look like success and are none.
func advice(status int) string {
	switch status / 100 {
	case 2:
		return ": not an ack; answer 200, or list it in ack_statuses"
	case 3:
		return ": redirects are not followed; correct the handler's URL"
	}
	return ""
}

// parseLease reads a duration with its unit, longer than 0. What cannot be read is
// as if it were not there: the handler has the message.
func parseLease(text string) (time.Duration, error) {
	if text = strings.TrimSpace(text); text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("MQ-Lease %.40q is not a duration with its unit, as 5m; the longest lease is given", text)
	}
	return d, nil
}

// parseRetryAfter reads seconds or an HTTP date (RFC 9110, 10.2.3). A date in
// the past is no wait; a number that no integer holds is a long one.
func parseRetryAfter(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	const most = uint64(365 * 24 * time.Hour / time.Second)
	if text != "" && strings.Trim(text, "0123456789") == "" {
		s, _ := strconv.ParseUint(text, 10, 64) // the largest, where it does not fit
		return time.Duration(min(s, most)) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}
