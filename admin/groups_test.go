package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/broker/embedded"
	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/deadletter/notes"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// groupOf is group g, with n dead letters of an embedded broker: of the first the
// cause is not known.
func groupOf(t *testing.T, n int) (groups func() map[string]*deadletter.Group, ids []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir()})
	must(err)
	db, err := kv.Open(t.Context(), kv.Options{Dir: t.TempDir(), CloseWait: 2 * time.Minute})
	must(err)
	t.Cleanup(func() { must(errors.Join(b.Close(), db.Close())) })
	known, err := notes.Open(db, nil, nil)
	must(err)
	p := b.Producer()
	for i := range n {
		m := message.Message{ID: message.NewID(message.SpoolID{1}, 1, uint64(i+1), time.Now()), Topic: "orders", Body: []byte("body"), Tag: "t", OrderingKey: "k"}
		_, err := p.Send(t.Context(), []*message.Message{&m})
		must(err)
		ids = append(ids, m.ID.String())
	}
	must(p.Close())
	c, err := b.Consumer(broker.Subscription{Name: "g", Topic: "orders", Group: "g", Concurrency: 1})
	must(err)
	ctx, stop := context.WithCancel(t.Context())
	died := 0
	must(c.Consume(ctx, func(ctx context.Context, d *message.Delivery) error {
		if died++; died > 1 {
			known.Note("g", d.Identity, notes.Reason{Cause: "rejected: 422", Attempts: 1, At: time.Now()})
		}
		err := c.SendBack(ctx, d, broker.SendBack{DeadLetter: true})
		if died == n {
			stop()
		}
		return err
	}))
	dead, err := b.DeadLetters("g")
	must(err)
	all := map[string]*deadletter.Group{"g": deadletter.NewGroup("g", dead, known, nil)}
	return func() map[string]*deadletter.Group { return all }, ids
}

// groupAnswers makes the calls about dead letters of a group, and leaves none.
func (d *described) groupAnswers(t *testing.T, addr string, ops *operations, ids []string) {
	t.Helper()
	check := func(status int, op, query, body string) {
		t.Helper()
		method, path, _ := strings.Cut(op, " ")
		path = strings.NewReplacer("{group}", "g", "{id}", ids[0]).Replace(path) + query
		if status == http.StatusNotFound {
			path = strings.Replace(path, "/g/", "/other/", 1)
		}
		d.check(t, addr, status, call{method + " " + strings.TrimPrefix(op, method+" "), path, body, []string{"Authorization", "Bearer " + adminToken}})
	}
	const list, one = "GET /v1/groups/{group}/dead-letters", "GET /v1/groups/{group}/dead-letters/{id}"
	check(200, list, "?limit=2&tag=t&older_than=0s", "")
	check(200, list, "?cause=rejected:+422&body=true", "")
	check(200, list, "?group_by=cause", "")
	for _, bad := range []string{"?error=x", "?group_by=topic", "?group_by=cause&limit=1", "?cursor=x", "?body=perhaps"} {
		check(400, list, bad, "")
	}
	check(404, list, "", "")
	check(200, one, "", "")
	check(200, one, "?body=true", "")
	check(400, one, "?bodies=true", "")
	check(404, one, "", "")
	for _, path := range []string{"/v1/groups/g/dead-letters?body=true", "/v1/groups/g/dead-letters/" + ids[0] + "?body=true"} {
		op := map[bool]string{true: list, false: one}[strings.Contains(path, "letters?")]
		d.check(t, addr, http.StatusUnauthorized, call{op: op, path: path})
	}
	for _, kind := range []string{"redrive", "discard"} {
		op := "POST /v1/groups/{group}/dead-letters/" + kind
		check(200, op, "", `{"filter":{"cause":"unknown"},"dry_run":true}`)
		check(400, op, "", `{"filter":{}}`)
		check(400, op, "", `{"filter":{"all":true,"tag":"t"}}`)
		check(400, op, "", `{"filter":{"error":"x"}}`)
		check(404, op, "", `{"filter":{"all":true}}`)
	}
	before := len(ops.list())
	check(202, "POST /v1/groups/{group}/dead-letters/redrive", "", `{"filter":{"ids":["`+ids[0]+`"]},"rate":100}`) // it watches for two seconds
	check(409, "POST /v1/groups/{group}/dead-letters/redrive", "", `{"filter":{"all":true}}`)
	check(409, "POST /v1/groups/{group}/dead-letters/discard", "", `{"filter":{"all":true}}`)
	<-ops.list()[before].done
	check(202, "POST /v1/groups/{group}/dead-letters/discard", "", `{"filter":{"all":true}}`)
	<-ops.list()[before+1].done
	if p := ops.list()[before].run.(letters).Progress(); p.Changed != 1 || p.Confirmed != 1 || ops.list()[before].err != nil {
		t.Errorf("redriven: %+v (%v)", p, ops.list()[before].err)
	}
	if p := ops.list()[before+1].run.(letters).Progress(); p.Changed != len(ids)-1 || p.Confirmed != 0 {
		t.Errorf("discarded: %+v", p)
	}
	check(200, list, "", "")
}

func TestGroupsDeadLettersAreListedAndGrouped(t *testing.T) {
	groups, ids := groupOf(t, 3)
	addr := serve(t, New(Options{}, Sources{Groups: groups}))
	body := get(t, "GET", addr, "/v1/groups/g/dead-letters?group_by=cause").body
	for _, want := range []string{`{"cause":"rejected: 422","messages":2,`, `"topics":["orders"],"oldest_died_at":"`, `"example":"` + ids[2] + `"}`, `{"cause":"unknown","messages":1,`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	body = get(t, "GET", addr, "/v1/groups/g/dead-letters?limit=1").body
	for _, want := range []string{`"id":"` + ids[0] + `","topic":"orders","cause":"unknown","attempts":1,"died_at":"`, `"queue":"embedded/0","offset":0,`, `"next_cursor":"embedded/0@1"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	body = get(t, "GET", addr, "/v1/groups/g/dead-letters?body=true&cursor=embedded/0@2").body
	if !strings.Contains(body, `"body_size":4,"body_base64":"Ym9keQ=="`) || strings.Contains(body, ids[1]) {
		t.Errorf("%s", body)
	}
	none := serve(t, New(Options{}, Sources{}))
	for path, want := range map[string]string{
		addr + "/v1/groups/h/dead-letters": "404 unknown-group false", none + "/v1/groups/g/dead-letters": "404 unknown-group false",
		addr + "/v1/groups/g/dead-letters/x": `404 not-found "unknown"`,
	} {
		at, rest, _ := strings.Cut(path, "/")
		if got := get(t, "GET", at, "/"+rest).code(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// What the broker does not do is told, with its words.
func TestGroupWhoseBrokerIsAway(t *testing.T) {
	g := deadletter.NewGroup("g", away{}, nil, nil)
	addr := serve(t, New(Options{}, Sources{Groups: func() map[string]*deadletter.Group { return map[string]*deadletter.Group{"g": g} }}))
	got := get(t, "GET", addr, "/v1/groups/g/dead-letters")
	if got.code() != "503 broker-unavailable false" || !strings.Contains(got.body, "no name server answers") {
		t.Errorf("%s: %s", got.code(), got.body)
	}
	op := operationOf(t, post(t, addr, "/v1/groups/g/dead-letters/redrive", `{"filter":{"all":true}}`))
	follow(t, addr, op.ID, "failed", func(a answer) bool {
		return strings.Contains(fmt.Sprint(a.body), `"state":"failed","detail":"count dead letters: `)
	})
}

type away struct{ broker.DeadLetters }

func (away) Queues(context.Context) ([]broker.DeadQueue, error) {
	return nil, errors.New("no name server answers")
}
