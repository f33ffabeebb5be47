package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/binary"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

const txTopic = "orders-at-the-broker"

// txRig is a sidecar, a broker that asks each second, and an application that knows
// what it has committed.
type txRig struct {
	t       *testing.T
	cluster *rmq.Cluster
	side    *sidecar
	app     string // where the application is asked

	mu      sync.Mutex
	commits map[string]bool // by transaction; missing: it is not known yet
}

// newTxRig starts the broker, with more of its configuration, and not the sidecar,
// whose configuration has more, too.
func newTxRig(t *testing.T, b rmq.BrokerOptions, keys, more string) *txRig {
	t.Helper()
	r := &txRig{t: t, commits: map[string]bool{}}
	extra := map[string]string{"transactionCheckInterval": "1000", "transactionTimeOut": "1000"}
	maps.Copy(extra, b.Extra)
	b.Extra = extra
	r.cluster = rmq.Start(t, rmq.Options{Brokers: []rmq.BrokerOptions{b}})
	r.cluster.CreateTopic(t, txTopic, 1)
	server := httptest.NewServer(http.HandlerFunc(r.answer))
	t.Cleanup(server.Close)
	r.app = server.URL
	r.side = &sidecar{binary.New(t, "sidecar", fmt.Sprintf("broker: {type: rocketmq, rocketmq: {name_servers: [%q]%s}}\nforwarder: {retry: {initial: 100ms, max: 2s}}\n%s",
		r.cluster.NameServerAddrs()[0], keys, more))}
	return r
}

// answer is the application's, that is asked for what has not been decided.
func (r *txRig) answer(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	word := "UNKNOWN"
	if commits, known := r.commits[req.Header.Get("MQ-Transaction-Id")]; known {
		word = map[bool]string{true: "COMMIT", false: "ROLLBACK"}[commits]
	}
	_, _ = io.WriteString(w, word)
}

func (r *txRig) knows(id string, commits bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits[id] = commits
}

// post returns the status, 0 where there was no answer, and the answer.
func (r *txRig) post(ctx context.Context, path string, v any) (status int, answer map[string]any) {
	r.t.Helper()
	body := []byte("{}")
	if v != nil {
		var err error
		body, err = json.Marshal(v)
		must(r.t, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.side.Addresses().Data[0]+path, strings.NewReader(string(body)))
	must(r.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	if json.NewDecoder(res.Body).Decode(&answer) != nil {
		return 0, nil
	}
	return res.StatusCode, answer
}

func (r *txRig) prepare(ctx context.Context, id string) (status int, answer map[string]any) {
	r.t.Helper()
	return r.post(ctx, "/v1/transactions", map[string]any{
		"id": id, "mode": "broker", "messages": []any{map[string]any{"topic": txTopic, "body": id}},
		"check": map[string]any{"url": r.app, "after": "1h", "interval": "1h"},
	})
}

func (r *txRig) prepared(ctx context.Context, id string) {
	r.t.Helper()
	if status, answer := r.prepare(ctx, id); status != http.StatusCreated {
		r.t.Fatalf("prepare %s: %d %v", id, status, answer)
	}
}

// decide asks until it is answered.
func (r *txRig) decide(ctx context.Context, id, what string) (answer map[string]any) {
	r.t.Helper()
	for {
		status, answer := r.post(ctx, "/v1/transactions/"+id+"/"+what, nil)
		if status == http.StatusOK {
			return answer
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			r.t.Fatalf("%s %s: %d %v", what, id, status, answer)
		}
	}
}

// delivered counts what consumers can read, by transaction.
func (r *txRig) delivered() map[string]int {
	r.t.Helper()
	n := map[string]int{}
	for from := int64(0); ; {
		some, err := r.cluster.Brokers[0].Pull(txTopic, 0, from)
		must(r.t, err)
		if len(some) == 0 {
			return n
		}
		for _, m := range some {
			n[string(m.Body)]++
			from = m.Offset + 1
		}
	}
}

func (r *txRig) awaitDelivered(ctx context.Context, ids ...string) {
	r.t.Helper()
	for {
		n, missing := r.delivered(), []string(nil)
		for _, id := range ids {
			if n[id] == 0 {
				missing = append(missing, id)
			}
		}
		if len(missing) == 0 {
			return
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			r.t.Fatalf("not delivered: %q", missing)
		}
	}
}

func (r *txRig) restartSidecar() {
	r.t.Helper()
	must(r.t, r.side.Kill())
	must(r.t, r.side.Start())
}

// TestTransactionsAtABroker: half messages of a real broker, through kills of the
// sidecar and of the broker at each step. What is committed is delivered, what is
// rolled back never, and the books balance.
func TestTransactionsAtABroker(t *testing.T) {
	ctx := within(t, 4*time.Minute)
	r := newTxRig(t, rmq.BrokerOptions{}, "", "")
	must(t, r.side.Start())

	r.prepared(ctx, "committed")
	r.prepared(ctx, "rolled-back")
	r.prepared(ctx, "asked")
	if n := r.delivered(); len(n) > 0 {
		t.Fatalf("delivered before any commit: %v", n)
	}
	if got := r.decide(ctx, "committed", "commit"); got["mode"] != "broker" || got["state"] != "committed" {
		t.Errorf("answered %v", got)
	}
	r.decide(ctx, "rolled-back", "rollback")
	r.awaitDelivered(ctx, "committed")

	// The sidecar is new, and nobody commits: the broker asks, and the application says.
	r.knows("asked", true)
	r.restartSidecar()
	r.awaitDelivered(ctx, "asked")

	// The broker is gone from prepare to commit, and the sidecar after it.
	r.prepared(ctx, "through-an-outage")
	must(t, r.cluster.Brokers[0].Kill())
	r.decide(ctx, "through-an-outage", "commit")
	if status, answer := r.prepare(ctx, "refused"); status != http.StatusServiceUnavailable || !strings.HasSuffix(fmt.Sprint(answer["type"]), "broker-unavailable") {
		t.Errorf("prepared without a broker: %d %v", status, answer)
	}
	r.restartSidecar()
	must(t, r.cluster.Brokers[0].Start())
	r.awaitDelivered(ctx, "through-an-outage")

	committed, undone := r.killed(ctx)
	r.awaitDelivered(ctx, committed...)
	r.settled(ctx)
	n := r.delivered()
	for _, id := range append(undone, "rolled-back", "refused") {
		if n[id] > 0 {
			t.Errorf("%s is delivered", id)
		}
	}
	twice := 0
	for _, times := range n {
		twice += times - 1
	}
	t.Logf("%d transactions are delivered, %d times more than once; %d were rolled back", len(n), twice, len(undone))
}

// killed runs transactions with a kill of the sidecar at some time of each, and
// returns those that are committed, and those that are not.
func (r *txRig) killed(ctx context.Context) (committed, undone []string) {
	r.t.Helper()
	random := rand.New(rand.NewPCG(testscale.PrintedSeed(r.t), 0))
	for i := range testscale.Between(20, 500) {
		id, commits := fmt.Sprint("killed-", i), i%3 > 0
		var killing sync.WaitGroup
		wait := time.Duration(random.IntN(300)) * time.Millisecond
		killing.Go(func() {
			_ = pause(ctx, wait)
			r.restartSidecar()
		})
		status, _ := r.prepare(ctx, id)
		what := map[bool]string{true: "commit", false: "rollback"}[commits]
		if status == http.StatusCreated {
			r.post(ctx, "/v1/transactions/"+id+"/"+what, nil)
		}
		killing.Wait()
		if status != http.StatusCreated { // it may be here and there: so it is asked for
			r.knows(id, false)
			undone = append(undone, id)
			continue
		}
		r.decide(ctx, id, what)
		if r.knows(id, commits); commits {
			committed = append(committed, id)
		} else {
			undone = append(undone, id)
		}
	}
	return committed, undone
}

// settled waits until no transaction that a broker knows of waits, and looks at the
// books.
func (r *txRig) settled(ctx context.Context) {
	r.t.Helper()
	r.awaitMetric(ctx, `remora_transactions{state="ending"}`, "0")
	l, err := readLedger(ctx, r.side)
	if err != nil || !l.Balanced {
		r.t.Errorf("ledger %+v, %v", l, err)
	}
}

// awaitMetric waits until the sidecar tells so.
func (r *txRig) awaitMetric(ctx context.Context, name, value string) {
	r.t.Helper()
	for {
		page, err := r.side.Get(ctx, r.side.Addresses().Health, "/metrics")
		must(r.t, err)
		if strings.Contains(string(page), "\n"+name+" "+value+"\n") {
			return
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			r.t.Fatalf("%s is not %s: %v", name, value, err)
		}
	}
}

// degraded reports whether a condition is the case.
func (r *txRig) degraded(ctx context.Context, condition string) bool {
	r.t.Helper()
	page, err := r.side.Get(ctx, r.side.Addresses().Health, "/readyz?verbose")
	must(r.t, err)
	return strings.Contains(string(page), fmt.Sprintf(`{"name":%q,"is":true`, condition))
}
