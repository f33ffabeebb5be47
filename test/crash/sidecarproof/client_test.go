package sidecarproof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// client speaks to one sidecar.
type client struct {
	data, admin, health string
	http                *http.Client
}

func newClient(a addresses) *client {
	return &client{
		data: "http://" + a.Data[0], admin: "http://" + a.Admin, health: "http://" + a.Health,
		http: &http.Client{Timeout: heldDisk, Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// receipt is a receipt, or a problem.
type receipt struct {
	Status    int `json:"-"`
	ID        string
	State     string
	Stored    any // true, false or "unknown"
	Duplicate bool
	Code      string
	Detail    string
}

func (r receipt) accepted() bool { return r.Status == 200 || r.Status == 202 }

// refused reports an answer that says that nothing is stored.
func (r receipt) refused() bool { return !r.accepted() && r.Stored == false }

var errUntrue = errors.New("the answer is not a receipt")

// publish posts one message. An error means that no whole answer came.
func (c *client) publish(m message) (receipt, error) {
	req, err := http.NewRequest(http.MethodPost, c.data+"/v1/topics/"+m.topic+"/messages", bytes.NewReader(m.body))
	if err != nil {
		return receipt{}, err
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	set("Content-Type", "application/octet-stream")
	set("MQ-Tag", m.tag)
	set("MQ-Key", m.key)
	set("MQ-Ordering-Key", m.ordKey)
	set("Idempotency-Key", m.idempotency)
	set("MQ-Delay", m.delay)
	set("MQ-Property", "number="+strconv.Itoa(m.number))
	var r receipt
	r.Status, err = c.do(req, &r)
	if err == nil && r.accepted() && (r.ID == "" || r.Stored != true) {
		err = fmt.Errorf("%w: %+v", errUntrue, r)
	}
	return r, err
}

// item is a message in a batch or a transaction.
type item struct {
	Topic       string            `json:"topic"`
	Body        []byte            `json:"body_base64"`
	Tag         string            `json:"tag,omitempty"`
	Keys        []string          `json:"keys"`
	OrderingKey string            `json:"ordering_key,omitempty"`
	Properties  map[string]string `json:"properties"`
	ContentType string            `json:"content_type"`
	Key         string            `json:"idempotency_key,omitempty"`
	Delay       string            `json:"delay,omitempty"`
}

func items(all []message) (items []item) {
	for _, m := range all {
		items = append(items, item{m.topic, m.body, m.tag, []string{m.key}, m.ordKey,
			map[string]string{"number": strconv.Itoa(m.number)}, "application/octet-stream", m.idempotency, m.delay})
	}
	return items
}

// batch posts messages at once. It returns their receipts, or one that says
// why there are none.
func (c *client) batch(all []message) (each []receipt, problem receipt, err error) {
	text, err := json.Marshal(items(all))
	if err != nil {
		return nil, receipt{}, err
	}
	req, err := http.NewRequest(http.MethodPost, c.data+"/v1/messages:batch", bytes.NewReader(text))
	if err != nil {
		return nil, receipt{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	var answer struct {
		receipt
		Messages []receipt
	}
	status, err := c.do(req, &answer)
	answer.Status = status
	if err == nil && answer.accepted() && len(answer.Messages) != len(all) {
		err = fmt.Errorf("%w: %d receipts for %d messages", errUntrue, len(answer.Messages), len(all))
	}
	return answer.Messages, answer.receipt, err
}

// cancel is DELETE of a message.
func (c *client) cancel(id string) (receipt, error) { return c.about(http.MethodDelete, id) }

// get returns what is known of a message.
func (c *client) get(id string) (receipt, error) { return c.about(http.MethodGet, id) }

func (c *client) about(method, id string) (r receipt, err error) {
	req, err := http.NewRequest(method, c.data+"/v1/messages/"+url.PathEscape(id), nil)
	if err != nil {
		return r, err
	}
	r.Status, err = c.do(req, &r)
	return r, err
}

// ledger is the answer of GET /v1/ledger.
type ledger struct {
	Balanced bool
	Total    struct {
		Accepted, Confirmed, Cancelled, Discarded, Lost int

		RolledBack int            `json:"rolled_back"`
		Held       map[string]int `json:"in_spool"`
	}
	Audit struct {
		Held, Settled int
		Missing       []uint64
		Damage        []string
	}
}

func (l ledger) held() (n int) {
	for _, count := range l.Total.Held {
		n += count
	}
	return n
}

func (c *client) ledger() (l ledger, err error) {
	req, err := http.NewRequest(http.MethodGet, c.admin+"/v1/ledger", nil)
	if err != nil {
		return l, err
	}
	status, err := c.do(req, &l)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET /v1/ledger answered %d", status)
	}
	return l, err
}

// metrics is the text of GET /metrics.
func (c *client) metrics() (string, error) {
	res, err := c.http.Get(c.health + "/metrics")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

func (c *client) do(req *http.Request, into any) (status int, err error) {
	res, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return res.StatusCode, fmt.Errorf("%s %s answered %d: %q: %w", req.Method, req.URL.Path, res.StatusCode, text, err)
	}
	return res.StatusCode, nil
}
