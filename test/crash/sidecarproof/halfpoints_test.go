package sidecarproof

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/rocketmq"
)

// halfPoints are the steps by which a half message gets to a broker and ends there,
// each the moment before what it names.
var halfPoints = []string{
	"half: sent", "half: noted", "half: answered",
	"end: told", "end: noted", "end: over",
	"renewal: sent", "renewal: noted", "renewal: the former ended",
}

const halfTopic = "half-messages"

// halfTraffic is what clients did with transactions of mode broker, and what the
// application knows of them.
type halfTraffic struct {
	line *succession

	mu    sync.Mutex
	fates map[string]decision // of those that were prepared, and of those that could not be
	last  map[string]decision // what the application answers, in the end, for those that wait
	told  bool                // that is now
	over  bool
	wrong []string
	left  int        // transactions that may be begun before the next kill
	more  *sync.Cond // of mu: left, or over
}

// eachRun bounds the transactions between two kills: a broker asks again and again
// for each that is not known to it as ended, and a slow machine would not catch up.
const eachRun = 60

// next waits until a transaction may be begun; false: it is over.
func (h *halfTraffic) next() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.left == 0 && !h.over {
		h.more.Wait()
	}
	h.left--
	return !h.over
}

func (h *halfTraffic) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = eachRun
	h.more.Broadcast()
}

func (h *halfTraffic) complain(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, fmt.Sprintf(format, args...))
}

func (h *halfTraffic) set(id string, is decision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fates[id] = is
}

// mostWaiting bounds the transactions that wait for the end: each is asked for, and its
// half message replaced, again and again, which is all that broker and sidecar do when
// the long form has left a thousand of them.
const mostWaiting = 60

// wait leaves a transaction to the application, which does not know it before the end;
// false: enough are left to it.
func (h *halfTraffic) wait(id string, in decision) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.last) >= mostWaiting {
		return false
	}
	h.last[id] = in
	return true
}

// answer is the application's.
func (h *halfTraffic) answer(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	is := h.fates[id]
	if h.told && is == open {
		is = h.last[id]
	}
	switch is {
	case maybeCommitted, isCommitted:
		return "COMMIT"
	case maybeRolledBack, isRolledBack:
		return "ROLLBACK"
	default:
		return "UNKNOWN"
	}
}

// play prepares transactions, and decides them, has the application decide them when
// it is asked, or leaves them open until the end.
func (h *halfTraffic) play(rng *rand.Rand, name, checkURL string) {
	for n := 0; h.next(); n++ {
		id := fmt.Sprintf("%s-%d", name, n)
		if !h.prepare(id, checkURL) {
			continue
		}
		switch kind := rng.IntN(10); {
		case n%20 == 0 && h.wait(id, [...]decision{isCommitted, isRolledBack}[n/20%2]):
		case kind == 0:
			h.set(id, [...]decision{maybeCommitted, maybeRolledBack}[rng.IntN(2)])
		case kind < 4:
			h.decide(id, "/rollback", maybeRolledBack, isRolledBack)
		default:
			h.decide(id, "/commit", maybeCommitted, isCommitted)
		}
	}
}

// call does one thing until it is answered, through any number of kills. A 503, but for
// one of the broker, is none: the spool has lost its disk.
func (h *halfTraffic) call(do func(c *client) (dealAnswer, error)) dealAnswer {
	for {
		c := h.line.client()
		a, err := do(c)
		if err == nil && (a.Status != http.StatusServiceUnavailable || a.Code == "broker-unavailable") {
			return a
		}
		h.line.awaitAfter(c)
	}
}

// prepare reports whether it was answered with 201. What the broker did not take is
// rolled back.
func (h *halfTraffic) prepare(id, checkURL string) bool {
	h.set(id, open)
	a := h.call(func(c *client) (dealAnswer, error) { return c.prepareAtBroker(id, checkURL) })
	switch {
	case a.Status == http.StatusCreated:
		return true
	case a.Status == http.StatusServiceUnavailable && a.Code == "broker-unavailable", a.Status == http.StatusConflict:
		h.set(id, isRolledBack)
	default:
		h.complain("prepare %s: %+v", id, a)
	}
	return false
}

func (h *halfTraffic) decide(id, what string, maybe, is decision) {
	h.set(id, maybe)
	a := h.call(func(c *client) (dealAnswer, error) { return c.deal(id, what) })
	if a.Status != http.StatusOK || a.State != stateAfter[is] {
		h.complain("%s of %s: %+v", what, id, a)
	}
	h.set(id, is)
}

var stateAfter = map[decision]string{
	maybeCommitted: "committed", isCommitted: "committed", maybeRolledBack: "rolled_back", isRolledBack: "rolled_back",
}

// prepareAtBroker posts a transaction of mode broker, whose message is its ID.
func (c *client) prepareAtBroker(id, checkURL string) (dealAnswer, error) {
	return c.postTransaction("", map[string]any{
		"id": id, "mode": "broker", "messages": []any{map[string]any{"topic": halfTopic, "body": id}},
		"check": map[string]any{"url": checkURL, "after": "2h", "interval": "2h"},
	})
}

// halfProof is a broker that asks often, and clients whose sidecar ends again and again.
type halfProof struct {
	*halfTraffic

	t       *testing.T
	cluster *rocketmq.Cluster
	app     *application
	clients sync.WaitGroup
}

func newHalfProof(t *testing.T) *halfProof {
	t.Helper()
	p := &halfProof{t: t, cluster: rocketmq.Start(t, rocketmq.Options{Brokers: []rocketmq.BrokerOptions{{Extra: map[string]string{
		"transactionCheckInterval": "300", "transactionTimeOut": "300", "transactionCheckMax": "1000",
	}}}})}
	p.cluster.CreateTopic(t, halfTopic, 1)
	p.halfTraffic = &halfTraffic{line: &succession{next: make(chan struct{})}, fates: map[string]decision{}, last: map[string]decision{}}
	p.more = sync.NewCond(&p.mu)
	p.app = newApplication(t, littleSizes)
	p.app.tells = p.answer
	return p
}

// follow has clients go on with a sidecar that is ready; the first begins them.
func (p *halfProof) follow(side *process) {
	p.goOn()
	first := p.line.client() == nil
	p.line.follow(side.client)
	for i := 0; first && i < 4; i++ {
		p.clients.Go(func() { p.play(rand.New(rand.NewPCG(uint64(i), 13)), fmt.Sprint("client-", i), p.app.server.URL+"/tx") })
	}
}

// end has the last sidecar bring all to its end, and judges.
func (p *halfProof) end(how setup) {
	p.t.Helper()
	side := run(p.t, how, spawn(p.t))
	p.mu.Lock()
	p.over, p.told = true, true
	p.more.Broadcast()
	p.mu.Unlock()
	p.line.follow(side.client)
	p.clients.Wait()
	p.settle(p.t, side)
	p.judge(p.t, side, p.cluster)
}

// killsOfABroker bounds the kills over one broker. It writes each half message that it asks
// for once more, and reads all of them again and again: after five hundred kills it had
// written 1.3 million, and no longer got to the end of what was open.
const killsOfABroker = 90

// TestKillsAtEachStepOfAHalfMessage: wherever the sidecar ends between a broker's half
// message and what is noted of it, every transaction is in the end what its client was
// told, each committed message arrives, and no other does.
func TestKillsAtEachStepOfAHalfMessage(t *testing.T) {
	kills := testscale.Between(len(halfPoints)*3, 5000)
	rng := rand.New(rand.NewPCG(7, testscale.PrintedSeed(t)))
	for done := 0; done < kills && !t.Failed(); done += killsOfABroker {
		t.Run(fmt.Sprintf("from kill %d on", done), func(t *testing.T) {
			killHalfWay(t, rng, min(killsOfABroker, kills-done))
		})
	}
}

// killHalfWay ends so many sidecars over one broker.
func killHalfWay(t *testing.T, rng *rand.Rand, kills int) {
	t.Helper()
	p := newHalfProof(t)
	how := setup{program: killsItself, dir: filepath.Join(t.TempDir(), "data"), nameServer: p.cluster.NameServerAddrs()[0]}
	at := map[string]int{} // kills before the sidecar was ready
	for n := range kills {
		point := halfPoints[n%len(halfPoints)]
		how.env = []string{"REMORA_TEST_DIE_AT=" + point, fmt.Sprint("REMORA_TEST_DIE_NTH=", 1+rng.IntN(nthOf(point)))}
		side := launch(t, how, spawn(t))
		if side.await() != nil {
			at[point]++
			continue
		}
		p.follow(side)
		select {
		case <-side.ended:
		case <-time.After(patience):
			t.Errorf("nothing came to %q", point)
		}
		side.kill()
	}
	how.env = nil
	p.end(how)
	t.Logf("%d kills at %d points, some before the sidecar was ready: %v", kills, len(halfPoints), at)
}

// nthOf is how often clients come to a point before it is the last one, at most.
func nthOf(point string) int {
	if strings.HasPrefix(point, "renewal") {
		return 2
	}
	return 20
}

// settle waits until nothing is open, and the broker has confirmed all.
func (h *halfTraffic) settle(t *testing.T, side *process) {
	t.Helper()
	deadline := time.Now().Add(4 * patience)
	for {
		text, err := side.metrics()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, "\nremora_transactions{state=\"half\"} 0\n") && strings.Contains(text, "\nremora_transactions{state=\"ending\"} 0\n") {
			return
		}
		if time.Now().After(deadline) {
			h.mu.Lock()
			defer h.mu.Unlock()
			t.Fatalf("not all came to an end; %q\n%s", h.wrong, side.log.tail())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// judge compares what the sidecar tells, and what consumers can read, with what clients
// were told.
func (h *halfTraffic) judge(t *testing.T, side *process, cluster *rocketmq.Cluster) {
	t.Helper()
	for _, one := range h.wrong {
		t.Error(one)
	}
	delivered := map[string]int{}
	for from := int64(0); ; {
		some, err := cluster.Brokers[0].Pull(halfTopic, 0, from)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		for _, m := range some {
			delivered[string(m.Body)]++
			from = m.Offset + 1
		}
	}
	maps.Copy(h.fates, h.last)
	count := map[string]int{}
	twice := 0
	for _, id := range slices.Sorted(maps.Keys(h.fates)) {
		want := stateAfter[h.fates[id]]
		a, err := side.deal(id, "")
		if err != nil || a.State != want {
			t.Errorf("%s is %q, want %q (%+v, %v)", id, a.State, want, a, err)
		}
		if n := delivered[id]; (n > 0) != (want == "committed") {
			t.Errorf("%s is %s, and was delivered %d times", id, want, n)
		}
		count[want]++
		twice += max(0, delivered[id]-1)
		delete(delivered, id)
	}
	if len(delivered) > 0 {
		t.Errorf("delivered, and prepared by nobody: %v", delivered)
	}
	if l, err := side.ledger(); err != nil || !l.Balanced {
		t.Errorf("the ledger does not balance: %+v, %v", l, err)
	}
	t.Logf("%v transactions; %d messages were delivered once more", count, twice)
}
