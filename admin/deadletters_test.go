package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// lettersOf is a spool with n dead letters on topic a, cause A, and one on b, cause B.
func lettersOf(t *testing.T, n int) (s *spool.Spool, ids []message.ID) {
	t.Helper()
	s, _ = confirmed(t)
	for i := range n + 1 {
		topic, cause := "a", "A"
		if i == n {
			topic, cause = "c", "B"
		}
		receipts, err := s.Append(t.Context(), []spool.Draft{{Message: message.Message{Topic: topic, Body: []byte("body")}}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, receipts[0].ID)
		bury(t, s, topic, cause)
	}
	return s, ids
}

// bury makes the next message of a topic a dead letter.
func bury(t *testing.T, s *spool.Spool, topic, cause string) {
	t.Helper()
	l := next(t, s, topic)
	if err := s.Bury(t.Context(), l, cause, "error of "+cause); err != nil {
		t.Fatal(err)
	}
}

func next(t *testing.T, s *spool.Spool, topic string) *spool.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	leases, err := s.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: 1})
	if err != nil {
		t.Fatal(err)
	}
	return leases[0]
}

// operationOf decodes an answer.
func operationOf(t *testing.T, a answer) (op struct {
	ID, Kind, State, Detail, Phase    string
	Rate, Changed, Confirmed, Refused int
	Open                              int            `json:"without_outcome"`
	Dead                              map[string]int `json:"dead_by_cause"`
	Chosen                            struct{ Messages int }
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &op); err != nil || a.status >= 300 {
		t.Fatalf("%d %s (%v)", a.status, a.body, err)
	}
	return op
}

// follow asks for an operation until it is as is said.
func follow(t *testing.T, addr, id, what string, is func(answer) bool) answer {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if got := get(t, "GET", addr, "/v1/operations/"+id); is(got) {
			return got
		} else if time.Now().After(until) {
			t.Fatalf("it is not %s: %s", what, got.body)
		}
	}
}

func ended(a answer) bool { return !strings.Contains(a.body, `"state":"running"`) }

func TestDeadLettersAreListedAndGrouped(t *testing.T) {
	s, ids := lettersOf(t, 3)
	addr := serve(t, New(Options{}, Sources{Spool: func() Spool { return s }}))
	got, _ := get(t, "GET", addr, "/v1/dead-letters?topic=a").page(t)
	if fmt.Sprint(got) != fmt.Sprint(ids[:3]) {
		t.Errorf("listed %v, want %v", got, ids[:3])
	}
	if got, _ := get(t, "GET", addr, "/v1/dead-letters?cause=B").page(t); len(got) != 1 || got[0] != ids[3].String() {
		t.Errorf("of cause B: %v", got)
	}
	body := get(t, "GET", addr, "/v1/dead-letters?group_by=cause").body
	for _, want := range []string{`{"cause":"A","messages":3,"bytes":15,"topics":["a"],"oldest_accepted_at":"`, `"last_error":"error of A","example":"` + ids[2].String() + `"}`, `{"cause":"B","messages":1,`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	for path, want := range map[string]string{
		"?state=pending": "400 invalid-option false", "?group_by=topic": "400 invalid-option false",
		"?group_by=cause&limit=1": "400 invalid-option false", "?causes=A": "400 invalid-option false",
	} {
		if got := get(t, "GET", addr, "/v1/dead-letters"+path).code(); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestRedriveIsAnOperationToFollow(t *testing.T) {
	s, ids := lettersOf(t, 2)
	side := New(Options{Tokens: []string{"t"}}, Sources{Spool: func() Spool { return s }, Forwards: true})
	addr := serve(t, side)
	call := func(path, body string) answer { return post(t, addr, path, body, "Authorization", "Bearer t") }
	if res := post(t, addr, "/v1/dead-letters/redrive", `{"filter":{"topic":"a"}}`); res.status != 401 {
		t.Errorf("without the token: %d %s", res.status, res.body)
	}
	dry := call("/v1/dead-letters/redrive", `{"filter":{"topic":"a"},"dry_run":true}`)
	if got := strings.TrimSpace(dry.body); dry.status != 200 || got != `{"messages":2,"bytes":10,"with_ordering_key":0,"unreadable":0,"dry_run":true}` {
		t.Errorf("dry run: %d %s", dry.status, got)
	}
	res := call("/v1/dead-letters/redrive", `{"filter":{"topic":"a"},"rate":100}`)
	op := operationOf(t, res)
	if res.status != 202 || op.State != "running" || op.Kind != "redrive" || op.Rate != 100 || res.header.Get("Location") != "/v1/operations/"+op.ID {
		t.Fatalf("%d %s", res.status, res.body)
	}
	if other := call("/v1/dead-letters/discard", `{"filter":{"all":true}}`); other.code() != "409 operation-running false" {
		t.Errorf("a second one: %s", other.body)
	}
	s.Confirm([]*spool.Lease{next(t, s, "a"), next(t, s, "a")}, []message.Confirmation{{OffsetMessageID: "o"}, {OffsetMessageID: "o"}})
	got := operationOf(t, follow(t, addr, op.ID, "ended", ended))
	if got.State != "done" || got.Changed != 2 || got.Confirmed != 2 || got.Open != 0 || got.Chosen.Messages != 2 || got.Phase != "ended" {
		t.Errorf("%+v", got)
	}
	if list := get(t, "GET", addr, "/v1/operations"); strings.Count(list.body, `"kind"`) != 1 {
		t.Errorf("operations: %s", list.body)
	}
	if r, err := s.Receipt(t.Context(), ids[2]); err != nil || r.State != message.StateDead {
		t.Errorf("of another topic: %v %v", r.State, err)
	}
}

// A redrive whose canary is of a paused topic names the topic while it waits, and goes on
// when that is resumed.
func TestRedriveOfAPausedTopic(t *testing.T) {
	s, _ := lettersOf(t, 6)
	addr := serve(t, New(Options{}, Sources{Spool: func() Spool { return s }, Forwards: true}))
	if _, err := s.PauseTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	op := operationOf(t, post(t, addr, "/v1/dead-letters/redrive", `{"filter":{"topic":"a"}}`))
	waits := follow(t, addr, op.ID, "waiting for topic a", func(a answer) bool { return strings.Contains(a.body, `"paused_topics":["a"]`) })
	if got := operationOf(t, waits); got.State != "running" || got.Phase != "canary" || got.Changed != 5 || got.Open != 5 {
		t.Errorf("while it is paused: %+v", got)
	}
	if err := s.ResumeTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		s.Confirm([]*spool.Lease{next(t, s, "a")}, []message.Confirmation{{OffsetMessageID: "o"}})
	}
	end := follow(t, addr, op.ID, "ended", ended)
	if got := operationOf(t, end); got.State != "done" || got.Changed != 6 || got.Confirmed != 6 || strings.Contains(end.body, "paused_topics") {
		t.Errorf("resumed: %s", end.body)
	}
}

// It stops by itself where they die again, and says of what.
func TestRedriveThatFailsAgainIsStopped(t *testing.T) {
	s, _ := lettersOf(t, 3)
	addr := serve(t, New(Options{}, Sources{Spool: func() Spool { return s }, Forwards: true}))
	op := operationOf(t, post(t, addr, "/v1/dead-letters/redrive", `{"filter":{"topic":"a"}}`))
	bury(t, s, "a", "A")
	got := operationOf(t, follow(t, addr, op.ID, "ended", ended))
	if got.State != "stopped" || !strings.Contains(got.Detail, "dead letters again") || got.Dead["A"] != 1 {
		t.Errorf("%+v", got)
	}
}

// An operator stops it; so does the end of the listener, which waits for it.
func TestOperationsAreStopped(t *testing.T) {
	for _, by := range []string{"operator", "end"} {
		t.Run(by, func(t *testing.T) {
			s, _ := lettersOf(t, 3)
			side := New(Options{}, Sources{Spool: func() Spool { return s }, Forwards: true})
			addr := serve(t, side)
			op := operationOf(t, post(t, addr, "/v1/dead-letters/redrive", `{"filter":{"topic":"a"}}`))
			follow(t, addr, op.ID, "waiting", func(a answer) bool { return strings.Contains(a.body, `"without_outcome":3`) })
			if by == "operator" {
				if got := operationOf(t, post(t, addr, "/v1/operations/"+op.ID+"/stop", "")); got.State != "stopped" || got.Changed != 3 {
					t.Errorf("%+v", got)
				}
				return
			}
			if err := side.EndOperations(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := operationOf(t, get(t, "GET", addr, "/v1/operations/"+op.ID)); got.State != "stopped" {
				t.Errorf("%+v", got)
			}
			if res := post(t, addr, "/v1/dead-letters/redrive", `{"filter":{"topic":"a"}}`); res.code() != "503 draining unknown" && res.code() != "503 draining false" {
				t.Errorf("another one: %s", res.body)
			}
		})
	}
}

func TestDiscardIsRecorded(t *testing.T) {
	s, ids := lettersOf(t, 2)
	addr := serve(t, New(Options{}, Sources{Spool: func() Spool { return s }}))
	op := operationOf(t, post(t, addr, "/v1/dead-letters/discard", `{"filter":{"ids":["`+ids[0].String()+`","`+ids[2].String()+`"]}}`))
	got := operationOf(t, follow(t, addr, op.ID, "ended", ended))
	if got.State != "done" || got.Changed != 2 {
		t.Errorf("%+v", got)
	}
	if n := s.Ledger().Total; n.Discarded != 2 || n.InSpool.Dead != 1 {
		t.Errorf("%+v", n)
	}
}

func TestBadDeadLetterRequests(t *testing.T) {
	s, _ := lettersOf(t, 1)
	addr := serve(t, New(Options{}, Sources{Spool: func() Spool { return s }}))
	for body, want := range map[string]string{
		"":                                        "400 invalid-json false",
		`{"filter":{"topics":"a"}}`:               "400 invalid-json false",
		`{"filter":{"topic":"a"}} {}`:             "400 invalid-json false",
		`{"filter":{"ids":["x"]}}`:                "400 invalid-json false",
		`{"filter":{}}`:                           "400 invalid-option false",
		`{"filter":{"all":true,"topic":"a"}}`:     "400 invalid-option false",
		`{"filter":{"older_than":"yesterday"}}`:   "400 invalid-option false",
		`{"filter":{"all":true},"rate":-1}`:       "400 invalid-option false",
		`{"filter":{"all":true},"rate":10000000}`: "400 invalid-option false",
	} {
		for _, kind := range []string{"redrive", "discard"} {
			if got := post(t, addr, "/v1/dead-letters/"+kind, body).code(); got != want {
				t.Errorf("%s %s: %s, want %s", kind, body, got, want)
			}
		}
	}
	for _, path := range []string{"GET /v1/operations/none", "POST /v1/operations/none/stop"} {
		method, at, _ := strings.Cut(path, " ")
		if got := get(t, method, addr, at).code(); !strings.HasPrefix(got, "404 not-found") {
			t.Errorf("%s: %s", path, got)
		}
	}
	if n := s.Ledger().Total; n.InSpool.Dead != 2 {
		t.Errorf("%+v", n)
	}
}
