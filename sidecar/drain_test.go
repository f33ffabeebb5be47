package sidecar_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/test/ports"
)

// A handler that never returns takes its half of the drain and no more: what
// was accepted meanwhile is forwarded, and the end is a clean one.
func TestAHandlerThatNeverReturnsTakesNothingFromOthers(t *testing.T) {
	called, release := make(chan struct{}), make(chan struct{})
	c := embedded(t)
	c.Drain.Timeout = 6 * config.Second // half of it is left for what is published meanwhile
	c.Subscriptions = []config.Subscription{
		subscription("hung", "hung", handler(t, blockUntil(called, release))),
		subscription("idle", "idle", handler(t, func(http.ResponseWriter, *http.Request) {})),
	}
	defer close(release)
	r := start(t, c)
	r.post("hung", "never answered", "")
	<-called
	began := time.Now()
	r.stop()
	awaitState(t, r, 503, "stopping")
	if status, _ := r.post("late", "accepted while the handler hangs", ""); status != 202 {
		t.Errorf("accepting ended before fetching had: %d", status)
	}
	if err := r.end(); err != nil {
		t.Errorf("the drain's deadline is an error: %v", err)
	}
	if took := time.Since(began); took > time.Minute { // the handler would never end
		t.Errorf("took %v with a drain of 6s", took)
	}
	if strings.Contains(r.log.String(), "drain deadline reached") {
		t.Error("nothing was left for forwarding")
	}
	if strings.Contains(r.log.String(), "subscription idle") {
		t.Error("the idle subscription is said not to have ended")
	}
}

// Status and metrics tell how long the drain takes, and nothing of one that does not go
// on.
func TestTimeToDrainIsTold(t *testing.T) {
	told := func(r *running) (left *float64, metric bool) {
		_, page := get(t, "http://"+r.side.Addresses().Health+"/metrics")
		return r.status().Spool.DrainSeconds, strings.Contains(page, "\nremora_spool_drain_seconds 0\n")
	}
	c := embedded(t)
	r := start(t, c)
	r.post("orders", "x", "")
	eventually(t, "nothing waits", func() bool {
		left, metric := told(r)
		return left != nil && *left == 0 && metric
	})
	if err := r.end(); err != nil {
		t.Error(err)
	}
	c.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{ports.Free(t)}}}
	c.Drain.Timeout = 0
	r = start(t, c)
	r.post("orders", "waits for a broker", "")
	if left, metric := told(r); left != nil || metric {
		t.Errorf("nothing leaves, and the drain takes %v, metric %t", *left, metric)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func TestNoDrainAndNothingToDoIsNoError(t *testing.T) {
	c := embedded(t)
	c.Drain.Timeout = 0
	for range 5 { // it was a race
		if err := start(t, c).end(); err != nil {
			t.Fatal(err)
		}
	}
}

// A publish whose body is still on its way when accepting stops is answered,
// and forwarded before the end.
func TestPublishesInFlightAreSettled(t *testing.T) {
	c := embedded(t)
	r := start(t, c)
	nc, err := net.Dial("tcp", r.side.Addresses().Data[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	answers := bufio.NewReader(nc)
	fmt.Fprint(nc, "POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\nExpect: 100-continue\r\n\r\n")
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("%q, %v", line, err)
	}
	_, _ = answers.ReadString('\n')
	fmt.Fprint(nc, strings.Repeat("x", 16_000)) // fasthttp reads 8 KiB before it calls us
	r.post("orders", "another", "wait=60")      // by now the first one is being read
	r.stop()
	r.awaitStep("forward what is left")
	fmt.Fprint(nc, strings.Repeat("x", 4_000))
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("a publish in flight was cut: %v", err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Errorf("the publish in flight gets %d", res.StatusCode)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if log := r.log.String(); strings.Contains(log, "drain deadline reached") || strings.Contains(log, "not every request") {
		t.Errorf("it was not forwarded:\n%s", log)
	}
}

// While the rest is forwarded, a new publish is refused with words and not with
// a closed port, and receipts can be read.
func TestADrainIsSaid(t *testing.T) {
	c := embedded(t)
	c.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{ports.Free(t)}}}
	c.Drain.Timeout = 6 * config.Second // in which it is asked
	r := start(t, c)
	if _, body := get(t, "http://"+r.side.Addresses().Health+"/metrics"); !strings.Contains(body, `remora_degraded{reason="broker"}`) || !strings.Contains(body, "remora_spool_commit_batch_messages_count") {
		t.Error("metrics are missing")
	}
	r.post("orders", "waits for a broker", "")
	r.stop()
	r.awaitStep("stop accepting")
	if status, _ := r.post("orders", "new", ""); status != 503 {
		t.Errorf("a new publish gets %d, want 503", status)
	}
	if status, body := get(t, "http://"+r.side.Addresses().Data[0]+"/v1/status"); status != 200 || !strings.Contains(body, "draining") {
		t.Errorf("%d %s", status, body)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// awaitStep waits until the shutdown has performed a step.
func (r *running) awaitStep(name string) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 60_000 {
		if slices.Contains(r.log.steps(), name) {
			return
		}
		<-tick.C
	}
	r.t.Fatalf("never came to %q", name)
}
