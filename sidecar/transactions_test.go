package sidecar_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// checked is an application that answers check-backs as it is told.
func checked(t *testing.T) (url string, answer *atomic.Value) {
	t.Helper()
	answer = &atomic.Value{}
	answer.Store("UNKNOWN")
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answer.Load().(string))
	}))
	t.Cleanup(app.Close)
	return app.URL + "/tx", answer
}

// transactionOf is what the admin listener tells of one.
func (r *running) transactionOf(id string) (state string) {
	r.t.Helper()
	var v struct{ State string }
	r.operate("GET", "/v1/transactions/"+id, "", &v)
	return v.State
}

// TestTransactions: what is committed is delivered, by the application, by its
// answer to a check-back, after a restart, or by an operator; what is rolled back
// is not, and what is undecided is kept, shown and alarmed.
func TestTransactions(t *testing.T) {
	url, answer := checked(t)
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "pulled", Topic: "orders"}}
	r := start(t, c)
	prepare := func(id string, most int) {
		t.Helper()
		body := fmt.Sprintf(`{"id":%q,"messages":[{"topic":"orders","body":%q}],"check":{"url":%q,"after":"0s","interval":"1s","max_attempts":%d}}`, id, id, url, most)
		if status := r.ask("/v1/transactions", body, nil); status != 201 {
			t.Fatalf("prepare %s: %d", id, status)
		}
	}
	next := func(want string) {
		t.Helper()
		got := r.receive("60s")
		if string(got.Message.Body) != want {
			t.Fatalf("delivered %q, want %q", got.Message.Body, want)
		}
		r.ask("/v1/deliveries/"+got.ID+"/ack", "", nil)
	}
	atBroker := fmt.Sprintf(`{"mode":"broker","messages":[{"topic":"orders","body":"1"}],"check":{"url":%q}}`, url)
	if status := r.ask("/v1/transactions", atBroker, nil); status != 400 { // the embedded broker has no half messages
		t.Errorf("mode broker: %d", status)
	}
	prepare("never", 1000)
	prepare("committed", 1000)
	for _, c := range []struct { // in this order
		path string
		want int
	}{{"never/rollback", 200}, {"committed/commit", 200}, {"committed/rollback", 409}, {"unknown/commit", 404}} {
		if status := r.ask("/v1/transactions/"+c.path, "", nil); status != c.want {
			t.Errorf("%s: %d, want %d", c.path, status, c.want)
		}
	}
	next("committed")
	prepare("undecided", 1)
	eventually(t, "it is undecided", func() bool {
		var s sidecar.Status
		r.operate("GET", "/v1/status", "", &s)
		return s.Spool.Transactions.Undecided == 1 && strings.Contains(fmt.Sprint(s.Degraded), "transaction-undecided")
	})
	prepare("checked", 1000)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	if got := r.transactionOf("checked") + " " + r.transactionOf("undecided"); got != "half undecided" {
		t.Errorf("after a restart: %s", got)
	}
	answer.Store(`{"state":"COMMIT"}`)
	next("checked")
	if status := r.operate("POST", "/v1/transactions/undecided/commit", "", nil); status != 200 {
		t.Errorf("an operator commits: %d", status)
	}
	next("undecided")
}

// TestAdoptedTransactions: another application decides them, or nobody does.
func TestAdoptedTransactions(t *testing.T) {
	url, answer := checked(t)
	c := embedded(t)
	r := start(t, c)
	body := fmt.Sprintf(`{"id":"tx","messages":[{"topic":"orders","body":"1"}],"check":{"url":%q,"after":"0s","interval":"1s"}}`, url)
	if status := r.ask("/v1/transactions", body, nil); status != 201 {
		t.Fatalf("prepare: %d", status)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	adopt := func(url string) sidecar.Adopted {
		t.Helper()
		mine := c
		mine.Spool.Dir, mine.Transactions.AdoptedCheckURL = t.TempDir(), url
		got, err := sidecar.Adopt(t.Context(), mine, "test", slog.New(slog.DiscardHandler), sidecar.Adoption{Dir: c.Spool.Dir, Tell: func(uint64) {}})
		if err != nil || !got.Balanced {
			t.Fatalf("%+v, %v", got, err)
		}
		return got
	}
	answer.Store("COMMIT")
	if got := adopt(url); got.After.Confirmed != 1 || got.Left() != 0 {
		t.Errorf("with an application to ask: %+v", got.After)
	}
	answer.Store("UNKNOWN")
	r = start(t, c)
	if status := r.ask("/v1/transactions", strings.Replace(body, `"id":"tx"`, `"id":"other"`, 1), nil); status != 201 {
		t.Fatalf("prepare: %d", status)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if got := adopt(""); got.After.InSpool.Half != 1 || got.Left() != 1 {
		t.Errorf("without one: %+v", got.After)
	}
	r = start(t, c)
	if got := r.transactionOf("other"); got != "undecided" {
		t.Errorf("it is %s", got)
	}
}
