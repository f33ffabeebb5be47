package sidecar_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/test/ports"
)

// shown is what the console makes of a status and a ledger.
type shown struct {
	Verdict struct{ Is, Text string }
	Accept  struct{ Is, Rate string }
	Deliver struct{ Is, Why string }
	Spool   struct {
		Waiting, Held         int
		Oldest, Drained, Fill string
	}
	Conditions []struct {
		Name, Detail string
		Text         []string
	}
	Ledger struct {
		Balanced bool
		Accepted int
		Damage   []struct {
			Lost                  int
			Sequences, Quarantine string
		}
	}
}

// render runs the console's model, and fails the test where it found nothing at a
// name: an undefined or NaN in what would be shown.
func render(t *testing.T, status, ledger string) (out shown) {
	t.Helper()
	const script = `
		const model = require("fs").readFileSync("../admin/ui/model.js", "utf8");
		const [status, ledger] = JSON.parse(require("fs").readFileSync(0, "utf8"));
		const { view, ledgerOf } = new Function(model + "; return { view, ledgerOf };")();
		const all = { ...view(status, Date.now()), ledger: ledgerOf(ledger) };
		const look = (at, v) => {
			if (v === undefined || Number.isNaN(v) || typeof v === "string" && /undefined|NaN|object/.test(v)) throw new Error(at + " is " + v);
			if (v && typeof v === "object") for (const [k, inner] of Object.entries(v)) look(at + "." + k, inner);
		};
		look("all", all);
		console.log(JSON.stringify(all));`
	c := exec.CommandContext(t.Context(), "node", "-e", script)
	c.Stdin = strings.NewReader("[" + status + "," + ledger + "]")
	text, err := c.CombinedOutput()
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// The console names what is damaged, and what that cost.
func TestConsoleShowsDamage(t *testing.T) {
	c := waiting(t)
	flip(t, c, "body of the second")
	r := start(t, c)
	_, status := get(t, "http://"+r.side.Addresses().Admin+"/v1/status")
	_, ledger := get(t, "http://"+r.side.Addresses().Admin+"/v1/ledger")
	got := render(t, status, ledger).Ledger
	if len(got.Damage) == 0 || got.Damage[0].Lost == 0 || got.Damage[0].Sequences == "" || got.Damage[0].Quarantine == "" || got.Balanced {
		t.Errorf("%+v of %s", got, ledger)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// The console shows what a real sidecar tells, of good and bad days.
func TestConsoleShowsASidecar(t *testing.T) {
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "billing", Topic: "orders", Handler: "http://" + ports.Free(t) + "/", Concurrency: 1}}
	r := start(t, c)
	look := func() shown {
		_, status := get(t, "http://"+r.side.Addresses().Admin+"/v1/status")
		_, ledger := get(t, "http://"+r.side.Addresses().Admin+"/v1/ledger")
		return render(t, status, ledger)
	}
	if got := look(); got.Verdict.Is != "good" || got.Accept.Is != "idle" || got.Spool.Oldest != "none" || got.Spool.Drained != "nothing waits" || !got.Ledger.Balanced {
		t.Errorf("at rest: %+v", got)
	}
	if status, state := r.post("orders", "body", "wait=60"); status != 200 {
		t.Fatal(status, state)
	}
	eventually(t, "a handler that is away", func() bool {
		got := look()
		return got.Verdict.Is == "warn" && got.Deliver.Is == "bad" && got.Deliver.Why == "handler" && got.Ledger.Accepted == 1 &&
			len(got.Conditions) == 1 && got.Conditions[0].Name == "handler" && strings.HasPrefix(got.Conditions[0].Detail, "billing: ") && got.Conditions[0].Text[1] != ""
	})
	if err := r.end(); err != nil {
		t.Error(err)
	}

	c = embedded(t)
	c.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{ports.Free(t)}}}
	c.Drain.Timeout = 300 * config.Millisecond
	r = start(t, c)
	if status, _ := r.post("orders", "body", ""); status != 202 {
		t.Fatal(status)
	}
	began := time.Now()
	eventually(t, "a broker that is away", func() bool {
		got := look()
		return got.Spool.Waiting == 1 && got.Spool.Held == 1 && got.Spool.Drained == "not in sight" && got.Spool.Fill != "" && len(got.Conditions) == 1 && got.Conditions[0].Name == "broker"
	})
	if passed, got := time.Since(began), look(); passed > 2*time.Second && got.Spool.Oldest == "0 s" {
		t.Errorf("the oldest is as old as it was: %+v", got.Spool)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
