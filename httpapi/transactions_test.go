package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

var _ httpapi.Transactions = (*spool.Spool)(nil)

const transactionsPath = "/v1/transactions"

// prepared is a request that prepares two messages; more is put before its end.
func prepared(more string) string {
	return `{"messages":[{"topic":"orders","body":"1"},{"topic":"audit","body_base64":"Mg=="}],"check":{"url":"http://127.0.0.1:8080/tx"}` + more + `}`
}

// checked is a request whose check has something besides its URL.
func checked(more string) string {
	return strings.Replace(prepared(""), `/tx"}`, `/tx",`+more+`}`, 1)
}

func (l *listener) prepare(body string, header ...string) *answer {
	l.t.Helper()
	return l.do("POST", transactionsPath, body, append([]string{"Content-Type", "application/json"}, header...)...)
}

func TestAnOptionOfCheckThatIsNullIsLeftOut(t *testing.T) {
	l, sp := startReal(t)
	first := l.prepare(prepared(""), "Idempotency-Key", "k")
	given := strings.Replace(prepared(""), `/tx"}`, `/tx","after":null,"interval":null,"max_attempts":null,"on_exhausted":null}`, 1)
	again := l.prepare(given, "Idempotency-Key", "k")
	if first.status != 201 || again.status != 201 || again.json["id"] != first.json["id"] {
		t.Errorf("it is another transaction: %d %s", again.status, again.raw)
	}
	if n := sp.Ledger().Total.InSpool.Half; n != 2 {
		t.Errorf("%d half messages, want 2", n)
	}
	none := strings.Replace(prepared(""), `"http://127.0.0.1:8080/tx"`, "null", 1)
	if a := l.prepare(none); a.status != 403 || a.code() != "check-not-allowed" {
		t.Errorf("without a URL: %d %s", a.status, a.raw)
	}
}

func TestTransactionsOverHTTP(t *testing.T) {
	l, sp := startReal(t)
	first := l.prepare(prepared(""), "Idempotency-Key", "k")
	id, _ := first.json["id"].(string)
	if first.status != 201 || first.json["state"] != "half" || first.header.Get("Location") != transactionsPath+"/"+id || len(id) != 32 {
		t.Fatalf("prepared: %d %s", first.status, first.raw)
	}
	for _, m := range messagesIn(first) {
		if m["state"] != "half" || m["stored"] != true {
			t.Errorf("prepared %v", m)
		}
	}
	if again := l.prepare(prepared(""), "Idempotency-Key", `"k"`); again.status != 201 || again.json["id"] != id || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("again: %d %s", again.status, again.raw)
	}
	if other := l.prepare(prepared(`,"mode":"local","id":"other"`), "Idempotency-Key", "k"); other.status != 422 {
		t.Errorf("other content: %d %s", other.status, other.raw)
	}
	if a := l.do("GET", first.header.Get("Location"), ""); a.status != 200 || a.json["state"] != "half" || len(messagesIn(a)) != 2 {
		t.Errorf("shown: %d %s", a.status, a.raw)
	}
	if n := sp.Ledger().Total.InSpool; n.Half != 2 || n.Pending != 0 {
		t.Errorf("the ledger is %+v", n)
	}
	for range 2 {
		if a := l.do("POST", first.header.Get("Location")+"/commit", ""); a.status != 200 || a.json["state"] != "committed" || a.json["decided_by"] != "application" || messagesIn(a)[0]["state"] != "pending" {
			t.Errorf("committed: %d %s", a.status, a.raw)
		}
	}
	if a := l.do("POST", first.header.Get("Location")+"/rollback", ""); a.status != 409 || a.code() != "transaction-conflict" || a.json["stored"] != true || !strings.Contains(string(a.raw), "committed") {
		t.Errorf("the opposite: %d %s", a.status, a.raw)
	}
	second := l.prepare(prepared(`,"id":"order-42"`), "Idempotency-Key", "second")
	if second.status != 201 || second.json["id"] != "order-42" {
		t.Fatalf("prepared: %d %s", second.status, second.raw)
	}
	if a := l.do("POST", transactionsPath+"/order-42/rollback", ""); a.status != 200 || a.json["state"] != "rolled_back" || messagesIn(a)[0]["state"] != "rolled_back" {
		t.Errorf("rolled back: %d %s", a.status, a.raw)
	}
	if a := l.do("POST", transactionsPath+"/order-42/commit", ""); a.status != 409 || a.code() != "transaction-conflict" || a.json["stored"] != false {
		t.Errorf("the opposite: %d %s", a.status, a.raw)
	}
	if a := l.prepare(prepared(`,"id":"order-42"`), "Idempotency-Key", "second"); a.status != 409 || a.code() != "transaction-conflict" {
		t.Errorf("its id: %d %s", a.status, a.raw)
	}
	if a := l.prepare(prepared(`,"id":"order-43"`), "Idempotency-Key", "second"); a.status != 201 {
		t.Errorf("its key is free: %d %s", a.status, a.raw)
	}
	for _, path := range []string{"/unknown", "/unknown/commit", "/unknown/rollback"} {
		method := map[bool]string{true: "GET", false: "POST"}[path == "/unknown"]
		if a := l.do(method, transactionsPath+path, ""); a.status != 404 || a.code() != "unknown-transaction" {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
}

func messagesIn(a *answer) (all []map[string]any) {
	list, _ := a.json["messages"].([]any)
	for _, m := range list {
		one, _ := m.(map[string]any)
		all = append(all, one)
	}
	return all
}

func TestTransactionsAreListedOverHTTP(t *testing.T) {
	l, sp := startReal(t)
	for i := range 3 {
		l.prepare(prepared(fmt.Sprintf(`,"id":"tx-%d"`, i)))
	}
	if _, err := sp.Undecide(t.Context(), "tx-1", "nobody answers"); err != nil {
		t.Fatal(err)
	}
	ids := func(query string) (all []string, next string) {
		a := l.do("GET", transactionsPath+query, "")
		if a.status != 200 {
			t.Fatalf("%s: %d %s", query, a.status, a.raw)
		}
		items, _ := a.json["items"].([]any)
		for _, i := range items {
			one, _ := i.(map[string]any)
			all = append(all, fmt.Sprint(one["id"]))
		}
		next, _ = a.json["next_cursor"].(string)
		return all, next
	}
	if got, _ := ids("?state=undecided"); fmt.Sprint(got) != "[tx-1]" {
		t.Errorf("undecided are %v", got)
	}
	got, next := ids("?state=half,undecided&limit=2")
	rest, _ := ids("?state=half,undecided&limit=2&cursor=" + next)
	if fmt.Sprint(got, rest) != "[tx-0 tx-1] [tx-2]" {
		t.Errorf("pages are %v, %v", got, rest)
	}
	for _, query := range []string{"?state=quarter", "?limit=0", "?cursor=x", "?states=half", "?limit=1&limit=2"} {
		if a := l.do("GET", transactionsPath+query, ""); a.status != 400 || a.code() != "invalid-option" {
			t.Errorf("%s: %d %s", query, a.status, a.raw)
		}
	}
}

// A key is one transaction: all that it is of tells it from another one, and what is left
// out is what it is by default.
func TestContentOfATransaction(t *testing.T) {
	l, sp := startReal(t)
	one := `{"messages":[{"topic":"orders","body":"1"}],"check":{"url":"http://127.0.0.1:8080/tx"}}`
	first := l.prepare(one, "Idempotency-Key", "k")
	with := func(old, now string) string { return strings.Replace(one, old, now, 1) }
	same := with(`/tx"}`, `/tx","after":"60s","interval":"1m","max_attempts":15,"on_exhausted":"keep"},"mode":"local"`)
	if a := l.prepare(same, "Idempotency-Key", "k"); a.status != 201 || a.json["id"] != first.json["id"] {
		t.Errorf("with what is so by default: %d %s", a.status, a.raw)
	}
	for name, other := range map[string]string{
		"body": with(`"1"`, `"2"`), "topic": with("orders", "bills"), "tag": with(`"1"`, `"1","tag":"t"`), "keys": with(`"1"`, `"1","keys":["k"]`),
		"ordering key": with(`"1"`, `"1","ordering_key":"k"`), "property": with(`"1"`, `"1","properties":{"a":"b"}`), "type": with(`"1"`, `"1","content_type":"a/b"`),
		"delay": with(`"1"`, `"1","delay":"1m"`), "TTL": with(`"1"`, `"1","ttl":"1m"`), "another message": with(`}]`, `},{"topic":"orders","body":"1"}]`),
		"URL": with("8080", "8081"), "after": with(`/tx"`, `/tx","after":"61s"`), "interval": with(`/tx"`, `/tx","interval":"61s"`),
		"attempts": with(`/tx"`, `/tx","max_attempts":14`), "end": with(`/tx"`, `/tx","on_exhausted":"rollback"`),
		"ID": with(`{"messages"`, `{"id":"x","messages"`), "mode": with(`{"messages"`, `{"mode":"broker","messages"`),
	} {
		if a := l.prepare(other, "Idempotency-Key", "k"); a.status != 422 || a.code() != "idempotency-key-reused" {
			t.Errorf("another %s: %d %s", name, a.status, a.raw)
		}
	}
	if n := sp.Ledger().Total.Accepted; n != 1 {
		t.Errorf("%d messages were stored", n)
	}
}

// The trace of a prepare is that of its messages.
func TestTraceOfATransaction(t *testing.T) {
	l, sp := startReal(t)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := l.prepare(prepared(""), "traceparent", trace, "tracestate", "a=b")
	for _, m := range messagesIn(a) {
		id, err := message.ParseID(fmt.Sprint(m["id"]))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sp.Find(t.Context(), id); err != nil || got.Message.TraceParent != trace || got.Message.TraceState != "a=b" {
			t.Errorf("%+v, %v", got.Message, err)
		}
	}
}

// What topics are held to holds for prepares, too.
func TestTopicsOfTransactions(t *testing.T) {
	l := start(t, httpapi.Options{AllowedTopics: []string{"orders"}, Transactions: &atBroker{}, CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}})
	l.refused(l.prepare(prepared("")), 403, "topic-not-allowed")
	l = start(t, httpapi.Options{TopicRates: map[string]float64{"orders": 0.001}, Transactions: committedAtBroker(), CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}})
	if a := l.prepare(prepared("")); a.status != 201 {
		t.Errorf("the first: %d %s", a.status, a.raw)
	}
	l.refused(l.prepare(prepared("")), 429, "rate-limited")
}

// What is wrong with a transaction is said, and nothing is stored.
func TestBadTransactions(t *testing.T) {
	l, sp := startReal(t)
	message := `{"topic":"orders","body":"1"}`
	check := `"check":{"url":"http://127.0.0.1:8080/tx"}`
	for name, c := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"no JSON":              {`x`, 400, "invalid-json"},
		"an unknown option":    {prepared(`,"what":1`), 400, "invalid-option"},
		"the same, null":       {prepared(`,"what":null`), 400, "invalid-option"},
		"a check's, null":      {`{"messages":[` + message + `],"check":{"url":"http://127.0.0.1:8080/tx","typo":null}}`, 400, "invalid-option"},
		"a message's, null":    {`{"messages":[{"topic":"orders","body":"1","typo":null}],` + check + `}`, 400, "invalid-item"},
		"no messages":          {`{"messages":[],` + check + `}`, 400, "empty-batch"},
		"a bad message":        {`{"messages":[{"topic":"a b","body":"1"}],` + check + `}`, 400, "invalid-topic"},
		"a key of a message":   {`{"messages":[{"topic":"orders","body":"1","idempotency_key":"k"}],` + check + `}`, 400, "invalid-item"},
		"no check":             {`{"messages":[` + message + `]}`, 400, "invalid-option"},
		"no URL":               {`{"messages":[` + message + `],"check":{}}`, 403, "check-not-allowed"},
		"a URL elsewhere":      {`{"messages":[` + message + `],"check":{"url":"http://example.com/tx"}}`, 403, "check-not-allowed"},
		"an interval":          {`{"messages":[` + message + `],"check":{"url":"http://127.0.0.1:8080/tx","interval":"1ms"}}`, 400, "invalid-option"},
		"no attempts":          {`{"messages":[` + message + `],"check":{"url":"http://127.0.0.1:8080/tx","max_attempts":0}}`, 400, "invalid-option"},
		"another end":          {`{"messages":[` + message + `],"check":{"url":"http://127.0.0.1:8080/tx","on_exhausted":"guess"}}`, 400, "invalid-option"},
		"another mode":         {prepared(`,"mode":"both"`), 400, "invalid-option"},
		"a broker's, of two":   {prepared(`,"mode":"broker"`), 400, "invalid-option"},
		"a broker's, in order": {`{"mode":"broker","messages":[{"topic":"orders","body":"1","ordering_key":"k"}],` + check + `}`, 400, "invalid-option"},
		"a broker's, delayed":  {`{"mode":"broker","messages":[{"topic":"orders","body":"1","delay":"1m"}],` + check + `}`, 400, "invalid-option"},
		"an ID for a path":     {prepared(`,"id":"a/b"`), 400, "invalid-option"},
		"an empty ID":          {prepared(`,"id":""`), 400, "invalid-option"},
		"a long ID":            {prepared(`,"id":"` + strings.Repeat("i", 256) + `"`), 400, "invalid-option"},
		"an ID of dots":        {prepared(`,"id":".."`), 400, "invalid-option"},
		"a long URL":           {`{"messages":[` + message + `],"check":{"url":"http://127.0.0.1:8080/` + strings.Repeat("x", 2048) + `"}}`, 400, "invalid-option"},
		"a time before":        {checked(`"after":"-1s"`), 400, "invalid-option"},
		"11 years":             {checked(`"after":"96360h"`), 400, "invalid-option"},
		"11 years apart":       {checked(`"interval":"96360h"`), 400, "invalid-option"},
		"many attempts":        {checked(`"max_attempts":1000001`), 400, "invalid-option"},
		"a broker's, at":       {`{"mode":"broker","messages":[{"topic":"orders","body":"1","deliver_at":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}],` + check + `}`, 400, "invalid-option"},
		"a broker's, with TTL": {`{"mode":"broker","messages":[{"topic":"orders","body":"1","ttl":"1h"}],` + check + `}`, 400, "invalid-option"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := l.prepare(c.body); a.status != c.status || a.code() != c.code || a.json["stored"] != false {
				t.Errorf("%d %s, want %d %s", a.status, a.raw, c.status, c.code)
			}
		})
	}
	for _, header := range []string{"MQ-Delay", "MQ-Tag", "MQ-Property", "MQ-Delya"} {
		if a := l.prepare(prepared(""), header, "1h"); a.status != 400 || a.code() != "invalid-option" || !strings.Contains(string(a.raw), strings.ToLower(header)) {
			t.Errorf("%s: %d %s", header, a.status, a.raw)
		}
	}
	l.refused(l.do("POST", transactionsPath+"?delay=1h", prepared(""), asJSON...), 400, "invalid-option")
	if a := l.do("POST", transactionsPath, prepared(""), "Content-Type", "text/plain"); a.status != 415 {
		t.Errorf("a text: %d %s", a.status, a.raw)
	}
	if n := sp.Ledger().Total.Accepted; n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

// Where there are no transactions, there is no path of them.
func TestWithoutTransactions(t *testing.T) {
	l := start(t, httpapi.Options{CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}})
	l.refused(l.prepare(prepared("")), 404, "no-such-path")
}

// atBroker tells of one transaction whose half message a broker had.
type atBroker struct {
	*spool.Spool // nil: nothing else is asked

	told   spool.Transaction
	failed error // to prepare
}

func (a *atBroker) Prepare(context.Context, spool.TransactionDraft) (spool.Transaction, []message.Receipt, error) {
	return a.told, a.told.Receipts, a.failed
}

func (a *atBroker) CommitTransaction(context.Context, string, string) (spool.Transaction, error) {
	return a.told, a.failed
}

func (a *atBroker) Transaction(context.Context, string) (spool.Transaction, error) {
	return a.told, nil
}

func committedAtBroker() *atBroker {
	id, place := message.ID{15: 1}, message.HalfPlace{Broker: "b", MessageID: "01", OffsetMessageID: "02", Queue: "b/0"}
	confirmed := place.Confirmation()
	return &atBroker{told: spool.Transaction{
		ID: "order-1", State: spool.TransactionCommitted, Half: &spool.BrokerHalf{}, DecidedBy: "application", Messages: []message.ID{id},
		Check:    spool.Check{URL: "http://127.0.0.1:8080/tx", After: time.Minute, Interval: time.Minute, Most: 15},
		Receipts: []message.Receipt{{ID: id, Topic: "orders", State: message.StateConfirmed, Confirmation: &confirmed}},
	}}
}

// TestTransactionAtBrokerIsAsDescribed has the description hold the answers: of the
// mode, and of a confirmation that says neither offset nor whether it is flushed.
func TestTransactionAtBrokerIsAsDescribed(t *testing.T) {
	told := committedAtBroker()
	l := start(t, httpapi.Options{Transactions: told, CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}})
	one := `{"mode":"broker","messages":[{"topic":"orders","body":"1"}],"check":{"url":"http://127.0.0.1:8080/tx"}}`
	for _, a := range []*answer{l.prepare(one), l.do("GET", transactionsPath+"/order-1", "")} {
		if a.json["mode"] != "broker" {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
}

// What a broker did not take is told apart: whether it may have it, and that another one
// is to be prepared.
func TestWhatABrokerDoesNotTake(t *testing.T) {
	told := &atBroker{}
	l := start(t, httpapi.Options{Transactions: told, CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}})
	page := string(l.do("GET", "/problems/broker-unavailable", "").raw)
	for stored, failed := range map[any]error{
		false:     &transaction.NotPreparedError{Err: errors.New("connection refused")},
		"unknown": &transaction.NotPreparedError{Maybe: true, Err: errors.New("timeout")},
	} {
		told.failed = failed
		for id, hint := range map[string]string{"": "Send again after Retry-After", `"id":"order-1",`: "with another id"} { // what is named is refused when it is repeated
			a := l.prepare(`{"mode":"broker",` + id + `"messages":[{"topic":"orders","body":"1"}],"check":{"url":"http://127.0.0.1:8080/tx"}}`)
			if a.status != 503 || a.code() != "broker-unavailable" || a.json["stored"] != stored || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.raw), "rolled back") {
				t.Errorf("%v: %d %s %v", failed, a.status, a.raw, a.header)
			}
			said, _ := a.json["hint"].(string)
			if a.json["retryable"] != (id == "") || !strings.Contains(said, hint) || id != "" && strings.Contains(said, "Send again") {
				t.Errorf("%s %v: %s", id, failed, a.raw)
			}
			for member, other := range map[string]any{"retryable": true, "stored": false} { // as the page says at first
				if a.json[member] != other && !strings.Contains(page, fmt.Sprintf("%v` of a prepare", a.json[member])) {
					t.Errorf("%s is %v, and the page does not say when:\n%s", member, a.json[member], page)
				}
			}
		}
	}
}

// A decision that was not made is not as a message that was not stored.
func TestWhyADecisionIsNotMade(t *testing.T) {
	told := &atBroker{}
	l := start(t, httpapi.Options{Transactions: told})
	for says, failed := range map[string]error{
		"send it again, it is made once": fmt.Errorf("commit: %w", spool.ErrUnknown),
		"the transaction stays half":     fmt.Errorf("commit: %w", spool.ErrDiskLow),
	} {
		told.failed = failed
		if a := l.do("POST", transactionsPath+"/tx/commit", ""); a.status != 503 || !strings.Contains(string(a.raw), says) {
			t.Errorf("%v: %d %s", failed, a.status, a.raw)
		}
	}
}
