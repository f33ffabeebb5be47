package admin

import (
	"context"
	"testing"

	"github.com/remora-mq/remora/spool"
)

// operationAnswers makes the calls about dead letters, of which dead is one.
func (d *described) operationAnswers(t *testing.T, addr string, ops *operations, dead string) {
	t.Helper()
	one := `{"filter":{"ids":["` + dead + `"]}}`
	check := func(status int, op, path, body string) {
		t.Helper()
		d.check(t, addr, status, call{op, path, body, []string{"Authorization", "Bearer " + adminToken}})
	}
	check(200, "GET /v1/dead-letters", "/v1/dead-letters?cause=REFUSED&limit=1", "")
	check(200, "GET /v1/dead-letters", "/v1/dead-letters?group_by=cause", "")
	check(400, "GET /v1/dead-letters", "/v1/dead-letters?group_by=topic", "")
	check(404, "GET /v1/operations/{id}", "/v1/operations/x", "")
	check(404, "POST /v1/operations/{id}/stop", "/v1/operations/x/stop", "")
	for _, kind := range []string{"redrive", "discard"} {
		op, path := "POST /v1/dead-letters/"+kind, "/v1/dead-letters/"+kind
		check(200, op, path, `{"filter":{"cause":"REFUSED"},"dry_run":true}`)
		check(400, op, path, `{"filter":{"all":true},"rate":-1}`)
	}
	check(400, "POST /v1/drain", "/v1/drain", `{"timeout":"soon"}`)
	for range mostDrains {
		check(202, "POST /v1/drain", "/v1/drain", `{"timeout":"1h","all":true}`)
	}
	check(409, "POST /v1/drain", "/v1/drain", "")
	check(202, "POST /v1/dead-letters/redrive", "/v1/dead-letters/redrive", one) // nothing forwards it: it runs on
	check(409, "POST /v1/dead-letters/redrive", "/v1/dead-letters/redrive", one)
	check(409, "POST /v1/dead-letters/discard", "/v1/dead-letters/discard", one)
	drains := ops.list()[:mostDrains]
	check(200, "GET /v1/operations/{id}", "/v1/operations/"+drains[0].id, "")
	for _, op := range drains {
		check(200, "POST /v1/operations/{id}/stop", "/v1/operations/"+op.id+"/stop", "")
	}
	id := ops.list()[mostDrains].id
	check(200, "GET /v1/operations/{id}", "/v1/operations/"+id, "")
	check(200, "POST /v1/operations/{id}/stop", "/v1/operations/"+id+"/stop", "")
	check(200, "GET /v1/operations", "/v1/operations", "")
	check(202, "POST /v1/dead-letters/discard", "/v1/dead-letters/discard", one)
	<-ops.list()[mostDrains+1].done
}

// stuck is a spool whose lists wait until it is freed, whatever their caller says.
type stuck struct {
	Spool

	free chan struct{}
}

func (s stuck) List(context.Context, spool.Query) (spool.Page, error) {
	<-s.free
	return spool.Page{}, nil
}

// The end of the operations waits for what runs, as long as it may.
func TestEndOfOperationsWaits(t *testing.T) {
	s := stuck{free: make(chan struct{})}
	side := New(Options{}, Sources{Spool: func() Spool { return s }})
	op := operationOf(t, post(t, serve(t, side), "/v1/dead-letters/discard", `{"filter":{"all":true}}`))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := side.EndOperations(over); err == nil {
		t.Error("it ended with an operation that runs")
	}
	close(s.free)
	if err := side.EndOperations(t.Context()); err != nil || side.operations.find(op.ID).running() {
		t.Errorf("it has not ended: %v", err)
	}
}
