package transaction_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// Only a 200 that says COMMIT or ROLLBACK, and nothing else, decides.
func TestOnlyADecisionDecides(t *testing.T) {
	hijack := func(do func(net.Conn)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				do(conn)
				_ = conn.Close()
			}
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   spool.TransactionState
		says   string
	}{
		"commit":                  {says(200, `{"state":"COMMIT"}`), spool.TransactionCommitted, ""},
		"rollback":                {says(200, " {\n\"state\" : \"ROLLBACK\" }\n"), spool.TransactionRolledBack, ""},
		"the word commit":         {says(200, "COMMIT\n"), spool.TransactionCommitted, ""},
		"the word rollback":       {says(200, "ROLLBACK"), spool.TransactionRolledBack, ""},
		"unknown":                 {says(200, `{"state":"UNKNOWN"}`), spool.TransactionHalf, "UNKNOWN"},
		"the word unknown":        {says(200, "UNKNOWN"), spool.TransactionHalf, "UNKNOWN"},
		"404":                     {says(404, "COMMIT"), spool.TransactionHalf, "404"},
		"500":                     {says(500, `{"state":"ROLLBACK"}`), spool.TransactionHalf, "500"},
		"201":                     {says(201, "COMMIT"), spool.TransactionHalf, "201"},
		"204":                     {says(204, ""), spool.TransactionHalf, "204"},
		"an error text":           {says(200, "Fatal error: COMMIT failed"), spool.TransactionHalf, "no answer"},
		"in small letters":        {says(200, "commit"), spool.TransactionHalf, "no answer"},
		"nothing":                 {says(200, ""), spool.TransactionHalf, "no answer"},
		"two states":              {says(200, `{"state":"COMMIT","state":"ROLLBACK"}`), spool.TransactionHalf, "no answer"},
		"a state and an error":    {says(200, `{"state":"COMMIT","error":"no"}`), spool.TransactionHalf, "no answer"},
		"an error and a state":    {says(200, `{"error":"no","state":"COMMIT"}`), spool.TransactionHalf, "no answer"},
		"a state within":          {says(200, `{"state":{"state":"COMMIT"}}`), spool.TransactionHalf, "no answer"},
		"another name":            {says(200, `{"answer":"COMMIT"}`), spool.TransactionHalf, "no answer"},
		"the name in capitals":    {says(200, `{"State":"COMMIT"}`), spool.TransactionHalf, "no answer"},
		"a list":                  {says(200, `["COMMIT"]`), spool.TransactionHalf, "no answer"},
		"something behind":        {says(200, `{"state":"COMMIT"} x`), spool.TransactionHalf, "no answer"},
		"garbage":                 {says(200, "\x00\xff{"), spool.TransactionHalf, "no answer"},
		"very much":               {says(200, "COMMIT"+strings.Repeat(" ", 5000)), spool.TransactionHalf, "more than"},
		"a redirect to an answer": {http.RedirectHandler("/commit", http.StatusFound).ServeHTTP, spool.TransactionHalf, "302"},
		"a connection that ends":  {hijack(func(net.Conn) {}), spool.TransactionHalf, "no answer"},
		"an answer that is cut": {hijack(func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nCOMMIT")
		}), spool.TransactionHalf, "cut"},
		"no HTTP": {hijack(func(c net.Conn) { _, _ = io.WriteString(c, "COMMIT\r\n\r\n") }), spool.TransactionHalf, "no answer"},
		"too late": {func(w http.ResponseWriter, req *http.Request) {
			<-req.Context().Done()
			_, _ = io.WriteString(w, "COMMIT")
		}, spool.TransactionHalf, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			o := transaction.Options{}
			if name == "too late" {
				o.Timeout = 20 * time.Millisecond
			}
			r := newRig(t, o, func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/commit" { // where a redirect leads to
					says(200, "COMMIT")(w, req)
					return
				}
				c.answer(w, req)
			})
			r.prepare(spool.TransactionDraft{ID: "tx", Check: spool.Check{Interval: time.Hour, Most: 15, Exhausted: spool.TransactionCommitted}})
			r.run()
			got := r.await("tx", func(t spool.Transaction) bool { return t.State != spool.TransactionHalf || t.Checks > 0 })
			if got.State != c.want || !strings.Contains(got.LastCheck, c.says) || got.Checks > 1 {
				t.Errorf("it is %+v, want %s, %q", got, c.want, c.says)
			}
			if c.want.Decided() && got.DecidedBy != "check-back 1" {
				t.Errorf("decided by %q", got.DecidedBy)
			}
			if next := time.Until(got.NextCheckAt); !c.want.Decided() && (next < 59*time.Minute || next > 67*time.Minute) {
				t.Errorf("it is asked for again in %v", next)
			}
			said := map[spool.TransactionState]string{spool.TransactionHalf: "unknown", spool.TransactionCommitted: "commit", spool.TransactionRolledBack: "rollback"}
			r.counted(r.checker, "remora_transaction_checks_total", said[c.want], 1)
		})
	}
}

// A check-back has what the application needs to write its own side again.
func TestCheckBackCarriesTheMessage(t *testing.T) {
	r := newRig(t, transaction.Options{UserAgent: "remora"}, says(200, "COMMIT"))
	tx := r.prepare(spool.TransactionDraft{ID: "tx", Key: `a "key"`, Check: check(15)},
		message.Message{
			Topic: "orders", Body: []byte("first\x00"), Tag: "created", Keys: []string{"a,b", "c"}, OrderingKey: "customer 7", ContentType: "text/plain",
			TraceParent: "00-parent", Properties: []message.Property{{Name: "näme", Value: "a=b"}},
		}, message.Message{Topic: "audit", Body: []byte("second")})
	r.run()
	r.await("tx", in(spool.TransactionCommitted))
	h := r.app.requests[0].Header
	for name, want := range map[string]string{
		"MQ-Transaction-Id": "tx", "MQ-Check-Attempt": "1", "MQ-Topic": "orders", "MQ-Tag": "created", "MQ-Key": "a%2Cb,c", "MQ-Ordering-Key": "customer 7",
		"Content-Type": "text/plain", "Traceparent": "00-parent", "MQ-Property": "n%C3%A4me=a%3Db", "Idempotency-Key": `"a \"key\""`, "User-Agent": "remora",
		"MQ-Message-Id": tx.Messages[0].String(), "MQ-Max-Attempts": "15",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r.app.requests[0].Method != http.MethodPost || r.app.bodies[0] != "first\x00" {
		t.Errorf("%s with %q", r.app.requests[0].Method, r.app.bodies[0])
	}
}

// Of a transaction whose first message was cancelled, the next one is sent.
func TestCheckBackOfWhatIsLeft(t *testing.T) {
	r := newRig(t, transaction.Options{}, says(200, "COMMIT"))
	tx := r.prepare(spool.TransactionDraft{ID: "tx", Check: check(15)}, message.Message{Topic: "t", Body: []byte("1")}, message.Message{Topic: "t", Body: []byte("2")})
	if _, err := r.Cancel(t.Context(), tx.Messages[0]); err != nil {
		t.Fatal(err)
	}
	r.run()
	r.await("tx", in(spool.TransactionCommitted))
	if r.app.bodies[0] != "2" {
		t.Errorf("sent %q", r.app.bodies[0])
	}
}

// When all check-backs were in vain it is kept undecided, unless another end was
// asked for.
func TestCheckBacksEnd(t *testing.T) {
	for _, want := range []spool.TransactionState{spool.TransactionUndecided, spool.TransactionCommitted, spool.TransactionRolledBack} {
		t.Run(want.String(), func(t *testing.T) {
			r := newRig(t, transaction.Options{}, says(500, "no"))
			d := spool.TransactionDraft{ID: "tx", Check: check(3)}
			d.Check.Exhausted = want
			r.prepare(d)
			r.run()
			got := r.await("tx", in(want))
			if got.Checks != 3 || !strings.HasPrefix(got.DecidedBy, "3 check-backs in vain") || !strings.Contains(got.LastCheck, "500") {
				t.Errorf("it is %+v", got)
			}
			r.end()
			if all, _ := r.app.asked(); all != 3 {
				t.Errorf("asked %d times", all)
			}
			var attempts []string
			for _, req := range r.app.requests {
				attempts = append(attempts, req.Header.Get("MQ-Check-Attempt"))
			}
			if !slices.Equal(attempts, []string{"1", "2", "3"}) {
				t.Errorf("the attempts were %q", attempts)
			}
		})
	}
}

// What may not be asked is not, also when it might have been before.
func TestWhatIsNotAllowedIsNotAsked(t *testing.T) {
	r := newRig(t, transaction.Options{Allowed: transaction.Allowed{"http://127.0.0.1:1"}}, says(200, "COMMIT"))
	r.prepare(spool.TransactionDraft{ID: "tx", Check: check(2)})
	r.run()
	if got := r.await("tx", in(spool.TransactionUndecided)); !strings.Contains(got.LastCheck, "check_urls") {
		t.Errorf("it is %+v", got)
	}
	if all, _ := r.app.asked(); all > 0 {
		t.Errorf("asked %d times", all)
	}
}

// However many are due: so many at once, and in a second; and all of them.
func TestCheckBacksArePaced(t *testing.T) {
	const n, perSecond, atOnce = 120, 100, 3
	r := newRig(t, transaction.Options{Rate: perSecond, Concurrency: atOnce}, says(200, "COMMIT"))
	for i := range n {
		r.prepare(spool.TransactionDraft{ID: fmt.Sprint(i), Check: check(15)})
	}
	began := time.Now()
	r.run()
	for i := range n {
		r.await(fmt.Sprint(i), in(spool.TransactionCommitted))
	}
	if took := time.Since(began); took < (n-10)*time.Second/perSecond {
		t.Errorf("%d were asked in %s", n, took)
	}
	if all, most := r.app.asked(); all != n || most > atOnce {
		t.Errorf("asked %d times, %d at once", all, most)
	}
}

// An application that hangs has its share of what is asked at once, and others are
// asked meanwhile. What is put off for that counts for nothing.
func TestOneThatHangsLeavesRoom(t *testing.T) {
	const atOnce, n = 4, 30
	released := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(released) })
	hanging := newApplication(t, func(w http.ResponseWriter, req *http.Request) {
		<-released
		says(200, "COMMIT")(w, req)
	})
	defer goOn()
	r := newRig(t, transaction.Options{Concurrency: atOnce, Timeout: time.Minute, Allowed: transaction.Allowed{"http://127.0.0.1:*"}}, says(200, "COMMIT"))
	for i := range n {
		r.prepare(spool.TransactionDraft{ID: fmt.Sprint("hangs-", i), Check: spool.Check{
			URL: hanging.URL + "/tx", Interval: time.Millisecond, Most: 1, Exhausted: spool.TransactionUndecided,
		}})
	}
	for i := range n {
		r.prepare(spool.TransactionDraft{ID: fmt.Sprint(i), Check: check(1)})
	}
	r.run()
	for i := range n {
		r.await(fmt.Sprint(i), in(spool.TransactionCommitted))
	}
	if all, most := hanging.asked(); all != atOnce/2 || most != atOnce/2 {
		t.Errorf("the one that hangs was asked %d times, %d at once", all, most)
	}
	goOn()
	for i := range n {
		if got := r.await(fmt.Sprint("hangs-", i), in(spool.TransactionCommitted)); got.Checks != 0 {
			t.Errorf("it counts that it was put off: %+v", got)
		}
	}
}

// A restart goes on where it was: with what is open, and how often it was asked.
func TestCheckBacksGoOnAfterARestart(t *testing.T) {
	answer := make(chan string, 10)
	r := newRig(t, transaction.Options{}, func(w http.ResponseWriter, req *http.Request) {
		select {
		case a := <-answer:
			says(200, a)(w, req)
		case <-req.Context().Done():
		}
	})
	r.prepare(spool.TransactionDraft{ID: "tx", Check: check(15)})
	r.run()
	answer <- "UNKNOWN"
	answer <- "UNKNOWN"
	r.await("tx", func(t spool.Transaction) bool { return t.Checks == 2 })
	r.close() // while it is asked for the third time
	r.open()
	r.run()
	answer <- "COMMIT"
	if got := r.await("tx", in(spool.TransactionCommitted)); got.Checks != 2 || got.DecidedBy != "check-back 3" {
		t.Errorf("it is %+v", got)
	}
}

// failing is a spool that does not decide, nor tell what is due, as often as it is said to.
type failing struct {
	*spool.Spool

	times  atomic.Int32
	unread atomic.Bool
}

var errOnce = errors.New("no room for that now")

func (f *failing) CommitTransaction(ctx context.Context, id, by string) (spool.Transaction, error) {
	if f.times.Add(-1) >= 0 {
		return spool.Transaction{}, errOnce
	}
	return f.Spool.CommitTransaction(ctx, id, by)
}

func (f *failing) Undecide(ctx context.Context, id, by string) (spool.Transaction, error) {
	if f.times.Add(-1) >= 0 {
		return spool.Transaction{}, errOnce
	}
	return f.Spool.Undecide(ctx, id, by)
}

func (f *failing) DueChecks(ctx context.Context, most int) ([]spool.Transaction, error) {
	if f.unread.CompareAndSwap(true, false) {
		return nil, errOnce
	}
	return f.Spool.DueChecks(ctx, most)
}

// What is due may not be readable for a while.
func TestCheckBacksGoOnAfterAnErrorOfReading(t *testing.T) {
	r := newRig(t, transaction.Options{}, says(200, "COMMIT"))
	r.prepare(spool.TransactionDraft{ID: "tx", Check: check(1)})
	s := &failing{Spool: r.Spool}
	s.unread.Store(true)
	r.runOn(s)
	r.await("tx", in(spool.TransactionCommitted))
}

// An answer that cannot be made durable is asked for again, and counts for nothing.
func TestAnswerThatCannotBeKeptIsAskedForAgain(t *testing.T) {
	r := newRig(t, transaction.Options{}, says(200, "COMMIT"))
	r.prepare(spool.TransactionDraft{ID: "tx", Check: check(1)})
	s := &failing{Spool: r.Spool}
	s.times.Store(2)
	r.runOn(s)
	if got := r.await("tx", in(spool.TransactionCommitted)); got.Checks != 0 || got.LastCheck != errOnce.Error() {
		t.Errorf("it is %+v", got)
	}
	if all, _ := r.app.asked(); all != 3 {
		t.Errorf("asked %d times", all)
	}
}

// One that cannot be left undecided is not forgotten, nor asked for at once.
func TestWhatCannotBeLeftUndecidedIsAskedForLater(t *testing.T) {
	r := newRig(t, transaction.Options{}, says(500, "no"))
	r.prepare(spool.TransactionDraft{ID: "tx", Check: check(2)})
	s := &failing{Spool: r.Spool}
	s.times.Store(1)
	r.runOn(s)
	r.await("tx", func(t spool.Transaction) bool { return t.Checks == 2 && s.times.Load() == 0 })
	r.close() // with all that was to be written
	r.open()
	got := r.await("tx", in(spool.TransactionHalf))
	if wait := time.Until(got.NextCheckAt); got.Checks != 2 || wait < 30*time.Second || wait > 2*time.Minute {
		t.Errorf("it is asked for in %v: %+v", wait, got)
	}
}
