package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// group is two sidecars that send to a topic, and two that consume it.
type group struct {
	t                  *testing.T
	producers, members []*sidecar
	calls              chan string // message IDs, as the handlers get them
}

const comparedTopic, comparedGroup = "compared", "compared-app"

func startGroup(t *testing.T) *group {
	t.Helper()
	createTopics(t, comparedTopic)
	g := &group{t: t, calls: make(chan string, 10_000)}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		g.calls <- r.Header.Get("Mq-Message-Id")
	}))
	t.Cleanup(server.Close)
	for i := range 2 {
		g.producers = append(g.producers, newSidecar(t, fmt.Sprint("producer ", i), nameServer(), ""))
		g.members = append(g.members, newSidecar(t, fmt.Sprint("member ", i), nameServer(), fmt.Sprintf(
			"subscriptions: [{name: %s, topic: %s, handler: %q}]", comparedGroup, comparedTopic, server.URL)))
	}
	for _, s := range append(g.producers, g.members...) {
		must(t, s.Start())
	}
	return g
}

// publish returns the ID of a message that the broker has confirmed.
func (g *group) publish(ctx context.Context, from *sidecar, body string) string {
	g.t.Helper()
	url := "http://" + from.Addresses().Data[0] + "/v1/topics/" + comparedTopic + "/messages?wait=60s"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	must(g.t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	must(g.t, err)
	defer res.Body.Close()
	var receipt struct{ ID string }
	if err := json.NewDecoder(res.Body).Decode(&receipt); err != nil || res.StatusCode != http.StatusOK {
		g.t.Fatalf("publish: %d (%v)", res.StatusCode, err)
	}
	return receipt.ID
}

// handled waits for the call with a message.
func (g *group) handled(ctx context.Context, id string) {
	g.t.Helper()
	for {
		select {
		case got := <-g.calls:
			if got == id {
				return
			}
		case <-ctx.Done():
			g.t.Fatalf("%s is not handled: %v", id, context.Cause(ctx))
		}
	}
}

// found is what sidecar ledger --compare prints.
type found struct {
	Complete bool
	Members  []struct {
		UnsureAt *time.Time `json:"unsure_at"`
	}
	Origins []struct {
		Handled int
		Last    int `json:"last_topic_sequence"`
	}
	Missing []struct {
		ID, Verdict string
		TopicSeq    int `json:"topic_sequence"`
	}
}

// compare runs the command over all four.
func (g *group) compare(ctx context.Context, wait string) (code int, out found, said string) {
	g.t.Helper()
	args := []string{"ledger", "--compare", "--group", comparedGroup, "--topic", comparedTopic, "-o", "json", "--wait", wait}
	for i := range g.producers {
		args = append(args, "--producer", "http://"+g.producers[i].Addresses().Admin, "--member", "http://"+g.members[i].Addresses().Admin)
	}
	cmd := g.producers[0].Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		must(g.t, err)
	}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		g.t.Fatalf("%d %v: %s%s", code, err, stdout.String(), stderr.String())
	}
	return code, out, stderr.String()
}

// stolen moves the group's offsets behind all messages, as a foreign member of the
// group does that acks what it gets.
func (g *group) stolen() {
	g.t.Helper()
	for queue := range queues {
		top, err := shared.Brokers[0].MaxOffset(comparedTopic, queue)
		must(g.t, err)
		must(g.t, shared.Brokers[0].SetConsumerOffset(comparedGroup, comparedTopic, queue, top))
	}
}

// TestComparisonNamesWhatIsMissing: what two sidecars have sent is complete at the two
// members of a group, also when one of them is killed over it, and a message that
// somebody else took from the group is named by its ID, and no other.
func TestComparisonNamesWhatIsMissing(t *testing.T) {
	const each = 150
	ctx := within(t, 4*time.Minute)
	g := startGroup(t)
	killed := g.members[0]
	for i := range each {
		for _, p := range g.producers {
			g.publish(ctx, p, fmt.Sprintf("%s, message %d", p.Name(), i))
		}
		if i == each/2 {
			must(t, killed.Kill())
			must(t, killed.Start())
		}
	}
	code, out, said := g.compare(ctx, "2m")
	if code != 0 || !out.Complete || len(out.Missing) != 0 || len(out.Origins) != 2 {
		t.Fatalf("%d %+v %s", code, out, said)
	}
	for i, o := range out.Origins {
		if o.Handled != each || o.Last != each || out.Members[i].UnsureAt != nil {
			t.Errorf("%+v", out)
		}
	}

	for _, m := range g.members {
		must(t, m.Stop())
	}
	taken := g.publish(ctx, g.producers[1], "taken")
	g.stolen()
	for _, m := range g.members {
		must(t, m.Start())
	}
	g.handled(ctx, g.publish(ctx, g.producers[0], "after it"))
	// The call is answered, and noted in a moment; and what was confirmed in the second in
	// which a comparison began is on its way to it.
	for code, out, said = g.compare(ctx, "0s"); code == 4 || len(out.Missing) > 1; code, out, said = g.compare(ctx, "0s") {
		must(t, pause(ctx, 200*time.Millisecond))
	}
	if code != 1 || out.Complete || len(out.Missing) != 1 {
		t.Fatalf("%d %+v %s", code, out, said)
	}
	if m := out.Missing[0]; m.ID != taken || m.Verdict != "missing" || m.TopicSeq != each+1 {
		t.Errorf("named %+v, want %s as missing", m, taken)
	}
	if !strings.Contains(said, "queue resend") {
		t.Errorf("said %s", said)
	}
}
