package sidecar

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/admin"
)

// Whatever the sidecar may be degraded for is a reason of the metric.
func TestEveryReasonIsShown(t *testing.T) {
	conditions := admin.NewConditions()
	for _, name := range admin.Degrading() {
		conditions.Set(name, true)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(conditionCollector{conditions})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if m.GetGauge().GetValue() == 1 {
				shown = append(shown, m.GetLabel()[0].GetValue())
			}
		}
	}
	slices.Sort(shown)
	want := conditions.Degraded()
	for _, name := range []admin.Condition{admin.SubscriptionPaused, admin.AppNotReady, admin.HandlerFailing, admin.StrangeHalf, admin.DroppedHalf, admin.RenewedHalf} {
		if !slices.Contains(want, string(name)) {
			t.Errorf("%s does not degrade", name)
		}
	}
	if !slices.Equal(shown, want) {
		t.Errorf("shown are %q, it is degraded for %q", shown, want)
	}
}
