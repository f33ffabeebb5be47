package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// TestLostDecisionsOfHalfMessages: what tells the broker a decision is lost on its way,
// or is done and its answer is lost, or the broker says that it has done it, and forgets
// it. Each committed message arrives, no other does, and none twice.
func TestLostDecisionsOfHalfMessages(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	r := newTxRig(t, rmq.BrokerOptions{Host: "127.0.0.2", Extra: map[string]string{"transactionCheckMax": "100"}}, "", "")
	way := newBetween(t, r.cluster.Brokers[0].Advertised(), r.cluster.Brokers[0].Addr())
	must(t, r.side.Start())

	var committed, undone []string
	for _, f := range []struct {
		what fault
		name string
	}{{pretended, "pretended"}, {swallowed, "swallowed"}, {unheard, "unheard"}} {
		yes, no := f.name+"-commit", f.name+"-rollback"
		r.prepared(ctx, yes)
		r.prepared(ctx, no)
		before := way.times(f.what)
		way.set(f.what)
		r.decide(ctx, yes, "commit")
		r.decide(ctx, no, "rollback")
		r.awaitTrue(ctx, f.name, func() bool { return way.times(f.what) >= before+2 })
		if n := r.delivered(); f.what != unheard && n[yes] > 0 {
			t.Errorf("%s is delivered, and its broker was not told: the test tells nothing", yes)
		}
		way.set(none)
		committed, undone = append(committed, yes), append(undone, no)
	}
	r.awaitDelivered(ctx, committed...)
	r.settled(ctx)
	n := r.delivered()
	for _, id := range committed {
		if n[id] != 1 {
			t.Errorf("%s is delivered %d times", id, n[id])
		}
	}
	for _, id := range undone {
		if n[id] > 0 {
			t.Errorf("%s is delivered", id)
		}
	}
	r.awaitMetric(ctx, `remora_half_message_questions_total{answer="commit"}`, "1") // the one that was forgotten
	r.withoutNameServer(ctx)
}

// withoutNameServer: half messages are committed where they are known to be, also by
// the next process.
func (r *txRig) withoutNameServer(ctx context.Context) {
	r.t.Helper()
	r.prepared(ctx, "without-name-server")
	r.prepared(ctx, "and-restarted")
	r.prepared(ctx, "and-rolled-back")
	must(r.t, r.cluster.NameServers[0].Kill())
	r.decide(ctx, "without-name-server", "commit")
	r.decide(ctx, "and-rolled-back", "rollback")
	r.awaitDelivered(ctx, "without-name-server")
	if status, answer := r.prepare(ctx, "refused"); status != http.StatusServiceUnavailable || answer["stored"] != false {
		r.t.Errorf("prepared without a name server: %d %v", status, answer)
	}
	r.restartSidecar()
	r.decide(ctx, "and-restarted", "commit")
	r.awaitDelivered(ctx, "and-restarted")
	r.settled(ctx)
	must(r.t, r.cluster.NameServers[0].Start())
	if n := r.delivered(); n["and-rolled-back"]+n["refused"] > 0 {
		r.t.Errorf("delivered are %v", n)
	}
}

func (r *txRig) awaitTrue(ctx context.Context, what string, is func() bool) {
	r.t.Helper()
	for !is() {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			r.t.Fatalf("%s: %v", what, err)
		}
	}
}

// TestHalfMessagesWithAccessControl: a broker takes decisions of who has signed them.
// With a wrong secret nothing is said to be sent, and it is told that the broker is not
// reached; with the right one it goes on.
func TestHalfMessagesWithAccessControl(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	dir := t.TempDir()
	access, secret := filepath.Join(dir, "access"), filepath.Join(dir, "secret")
	must(t, os.WriteFile(access, []byte("remora"), 0o600))
	r := newTxRig(t, rmq.BrokerOptions{Extra: map[string]string{
		"authenticationEnabled":          "true",
		"authenticationProvider":         "org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
		"authenticationMetadataProvider": "org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
		"initAuthenticationUser":         `{"username":"remora","password":"right"}`,
		"authenticationWhitelist":        rmq.RequestCodes(),
		"transactionCheckMax":            "100",
	}}, fmt.Sprintf(", access_key_file: %q, secret_key_file: %q", access, secret), "")
	begin := func(with string) {
		t.Helper()
		must(t, os.WriteFile(secret, []byte(with), 0o600))
		must(t, r.side.Kill())
		must(t, r.side.Start())
	}
	begin("right")
	for _, id := range []string{"signed", "waits", "never"} {
		r.prepared(ctx, id)
	}
	r.decide(ctx, "signed", "commit")
	r.awaitDelivered(ctx, "signed")
	r.settled(ctx)

	begin("wrong")
	waits := r.decide(ctx, "waits", "commit")
	r.decide(ctx, "never", "rollback")
	if status, answer := r.prepare(ctx, "refused"); status != http.StatusServiceUnavailable || answer["stored"] != false {
		t.Errorf("prepared with a wrong secret: %d %v", status, answer)
	}
	r.awaitTrue(ctx, "degraded", func() bool { return r.degraded(ctx, "broker") })
	r.awaitMetric(ctx, `remora_transactions{state="ending"}`, "2")
	if got := r.stateOf(ctx, waits); got != "half" {
		t.Errorf("what no broker has confirmed is %s", got)
	}
	if n := r.delivered(); n["waits"]+n["never"] > 0 {
		t.Fatalf("delivered with a wrong secret: %v", n)
	}

	begin("right")
	r.awaitDelivered(ctx, "waits")
	r.settled(ctx)
	if got := r.stateOf(ctx, waits); got != "confirmed" {
		t.Errorf("what the broker has confirmed is %s", got)
	}
	if n := r.delivered(); n["never"]+n["refused"] > 0 {
		t.Errorf("delivered are %v", n)
	}
}

// stateOf is that of the message of a transaction.
func (r *txRig) stateOf(ctx context.Context, transaction map[string]any) string {
	r.t.Helper()
	var receipts []struct{ ID string }
	text, err := json.Marshal(transaction["messages"])
	must(r.t, err)
	must(r.t, json.Unmarshal(text, &receipts))
	page, err := r.side.Get(ctx, r.side.Addresses().Data[0], "/v1/messages/"+receipts[0].ID)
	must(r.t, err)
	var receipt struct{ State string }
	must(r.t, json.Unmarshal(page, &receipt))
	return receipt.State
}

// TestDroppedAndAdoptedHalfMessages: while no sidecar runs, the broker asks nobody as
// often as it does, and drops a half message. The next one finds that out, says it, and
// prepares another. One that adopts the spool has the decision made by whom it is told
// to ask, or leaves it to an operator.
func TestDroppedAndAdoptedHalfMessages(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	r := newTxRig(t, rmq.BrokerOptions{Extra: map[string]string{"transactionCheckMax": "2"}}, "", "")
	must(t, r.side.Start())
	r.prepared(ctx, "dropped")
	must(t, r.side.Kill())
	r.awaitTrue(ctx, "dropped by the broker", func() bool {
		all, err := r.cluster.Brokers[0].Pull("TRANS_CHECK_MAX_TIME_TOPIC", 0, 0)
		return err == nil && len(all) == 1
	})
	r.knows("dropped", true) // who asks is told
	must(t, r.side.Start())
	r.awaitMetric(ctx, "remora_half_messages_dropped_total", "1")
	r.awaitTrue(ctx, "said", func() bool { return r.degraded(ctx, "half-message-dropped") })
	r.awaitDelivered(ctx, "dropped")
	r.settled(ctx)

	r.prepared(ctx, "adopted")
	must(t, r.side.Kill())
	r.knows("adopted", true)
	r.adopt(ctx, fmt.Sprintf("transactions: {adopted_check_url: %q}\n", r.app))
	r.awaitDelivered(ctx, "adopted")

	must(t, r.side.Start())
	r.prepared(ctx, "left")
	must(t, r.side.Kill())
	r.adopt(ctx, "")
	must(t, r.side.Start())
	r.awaitMetric(ctx, `remora_transactions{state="undecided"}`, "1")
	if out, err := r.side.Command(ctx, "tx", "commit", "left", "--yes").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.awaitDelivered(ctx, "left")
	r.settled(ctx)
	for id, times := range r.delivered() {
		if times != 1 {
			t.Errorf("%s is delivered %d times", id, times)
		}
	}
}

// leftSome is the exit code of an adoption that left messages.
const leftSome = 4

// adopt has another sidecar's configuration take over the spool.
func (r *txRig) adopt(ctx context.Context, more string) {
	r.t.Helper()
	mine := r.t.TempDir()
	config := filepath.Join(mine, "remora.yaml")
	must(r.t, os.WriteFile(config, []byte(fmt.Sprintf("spool: {dir: %q}\nbroker: {type: rocketmq, rocketmq: {name_servers: [%q]}}\n%s",
		filepath.Join(mine, "data"), r.cluster.NameServerAddrs()[0], more)), 0o600))
	out, err := r.side.Command(ctx, "spool", "adopt", "--config", config, filepath.Join(filepath.Dir(r.side.Config()), "data")).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != leftSome) {
		r.t.Fatalf("%v: %s", err, out)
	}
}
