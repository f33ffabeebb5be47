package e2e

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCheckReadsTheBrokersConfiguration: what takes something from SEND_OK is
// said, before it costs a message.
func TestCheckReadsTheBrokersConfiguration(t *testing.T) {
	createTopics(t, "checked")
	s := newSidecar(t, "checked sidecar", nameServer(), `
subscriptions:
  - {name: there, topic: checked, handler: "http://127.0.0.1:1/"}
  - {name: missing, topic: never-created, handler: "http://127.0.0.1:1/"}
`)
	broker := shared.Brokers[0]
	want := []string{
		"warning " + broker.Name() + " answers SEND_OK before a slave has the message (brokerRole=ASYNC_MASTER)",
		"warning missing: find route of topic never-created",
	}
	check(t, s, want)

	for key, values := range map[string][2]string{
		"flushDiskType":        {"ASYNC_FLUSH", "SYNC_FLUSH"},
		"maxMessageSize":       {"1000000", "4194304"},
		"enablePropertyFilter": {"false", "true"},
		"brokerPermission":     {"4", "6"},
	} {
		must(t, broker.UpdateConfig(key, values[0]))
		defer func() { must(t, broker.UpdateConfig(key, values[1])) }()
	}
	for _, text := range []string{"is read-only", "answers SEND_OK before a message is on its disk", "takes messages up to 1000000 bytes, the sidecar accepts 4128768"} {
		want = append(want, "warning "+broker.Name()+" "+text)
	}
	check(t, s, want)
}

// check wants the findings about the broker that begin so, and "there" not to be
// missing.
func check(t *testing.T, s *sidecar, want []string) {
	t.Helper()
	out, err := s.Command(t.Context(), "check", "-c", s.Config(), "-o", "json").Output()
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) { // the handler is not there
		t.Fatal(err)
	}
	var report struct {
		Findings []struct{ Section, Level, Text, Hint string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var texts []string
	for _, f := range report.Findings {
		texts = append(texts, f.Level+" "+f.Text)
		if f.Level != "ok" && f.Hint == "" {
			t.Errorf("%s: no word of what to do", f.Text)
		}
	}
	for _, begin := range want {
		if !slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(text, begin) }) {
			t.Errorf("%q is not said:\n%s", begin, strings.Join(texts, "\n"))
		}
	}
	if slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(text, "warning there") }) {
		t.Errorf("a topic that is there is missed:\n%s", strings.Join(texts, "\n"))
	}
}
