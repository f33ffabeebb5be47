package transaction

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
	"github.com/remora-mq/remora/spool"
)

// ask sends the first message of a transaction to its application, and returns the
// answer; of one that is unknown also why.
func (c *Checker) ask(ctx context.Context, t *spool.Transaction) (answer, string) {
	if err := c.o.Allowed.Check(t.Check.URL); err != nil {
		return unknown, err.Error()
	}
	req, err := c.request(ctx, t)
	if err != nil {
		return unknown, err.Error()
	}
	res, err := c.http.Do(req)
	if err != nil {
		return unknown, "no answer: " + err.Error()
	}
	defer res.Body.Close() //nolint:errcheck // all that matters was read
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode != http.StatusOK:
		return unknown, fmt.Sprintf("%d: %.100q", res.StatusCode, body)
	case err != nil:
		return unknown, "the answer was cut: " + err.Error()
	case len(body) > maxAnswer:
		return unknown, fmt.Sprintf("200 with a body of more than %d bytes", maxAnswer)
	}
	return read(body)
}

func (c *Checker) request(ctx context.Context, t *spool.Transaction) (*http.Request, error) {
	m, err := c.first(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("read its first message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.Check.URL, bytes.NewReader(m.Body))
	if err != nil {
		return nil, err
	}
	h := req.Header
	push.DescribeMessage(m, func(name, value string) { h[name] = append(h[name], value) })
	h["MQ-Transaction-Id"] = []string{t.ID}
	h["MQ-Check-Attempt"] = []string{strconv.Itoa(t.Checks + 1)}
	h["MQ-Max-Attempts"] = []string{strconv.Itoa(t.Check.Most)}
	if t.Key != "" {
		h["Idempotency-Key"] = []string{push.QuoteKey(t.Key)}
	}
	h["User-Agent"] = []string{c.o.UserAgent}
	return req, nil
}

// first is the first message of a transaction that was not cancelled.
func (c *Checker) first(ctx context.Context, t *spool.Transaction) (*message.Message, error) {
	for _, id := range t.Messages {
		item, err := c.spool.Find(ctx, id)
		if err != nil {
			return nil, err
		}
		if item.Message != nil {
			return item.Message, nil
		}
	}
	return &message.Message{}, nil
}
