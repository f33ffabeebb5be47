package forwarder

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// What has expired is counted by the spool, and shown with the rest.
func TestExpiredMessagesAreCountedAsDeadLetters(t *testing.T) {
	r, m := prometheus.NewPedanticRegistry(), newMetrics()
	r.MustRegister(deadLetters{m.dead, func() uint64 { return 7 }})
	m.dead.WithLabelValues("MESSAGE_ILLEGAL").Inc()
	const want = `# HELP remora_dead_letters_total ` + deadHelp + `
# TYPE remora_dead_letters_total counter
remora_dead_letters_total{reason="MESSAGE_ILLEGAL"} 1
remora_dead_letters_total{reason="expired"} 7
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
