package sidecar_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/config"
)

// descForm reads what a description of a metric tells of itself; it tells it in no
// other way.
var descForm = regexp.MustCompile(`^Desc\{fqName: "(remora_\w+)", help: (".*"), constLabels: \{\}, variableLabels: \{([\w,]*)\}\}$`)

// TestPageHasEveryMetric compares docs/metrics.md with what is registered.
func TestPageHasEveryMetric(t *testing.T) {
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "s", Topic: "t", Handler: "http://127.0.0.1:1/"}}
	r := start(t, c)
	var want []string
	for _, d := range r.side.Metrics() {
		m := descForm.FindStringSubmatch(d.String())
		if m == nil {
			if strings.Contains(d.String(), "remora_") {
				t.Errorf("cannot read %s", d)
			}
			continue
		}
		labels := ""
		if m[3] != "" {
			labels = "`" + strings.ReplaceAll(m[3], ",", "`, `") + "` "
		}
		var help string
		if _, err := fmt.Sscanf(m[2], "%q", &help); err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("| `%s` | %s| %s |", m[1], labels, help))
	}
	slices.Sort(want)
	want = slices.Compact(want) // dead letters have two owners
	if len(want) < 60 {
		t.Fatalf("only %d metrics are registered, the check would prove nothing", len(want))
	}
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	page := regexp.MustCompile("(?m)^\\| `remora_\\w+` .*$").FindAllString(string(text), -1)
	if !slices.Equal(page, want) {
		t.Errorf("docs/metrics.md should have these rows:\n%s", strings.Join(want, "\n"))
	}
}
