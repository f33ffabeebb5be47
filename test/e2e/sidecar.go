package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/remora-mq/remora/test/binary"
)

// sidecar is the program under test, as a child process.
type sidecar struct{ *binary.Sidecar }

// newSidecar makes one that is not started. extra is YAML that follows what all
// have in common.
func newSidecar(t *testing.T, name, nameServer, extra string) *sidecar {
	t.Helper()
	return &sidecar{binary.New(t, name, configuration(nameServer, extra))}
}

func configuration(nameServer, extra string) string {
	return fmt.Sprintf(`
broker: {type: rocketmq, rocketmq: {name_servers: [%q]}}
forwarder: {retry: {initial: 100ms, max: 2s}}
%s`, nameServer, extra)
}

var repeatLine = regexp.MustCompile(`(?m)^remora_acks_total\{.*reason="repeat".*\} (\S+)$`)

// repeats is how many deliveries this life of the sidecar acked without a call.
func (s *sidecar) repeats(ctx context.Context) (n int) {
	page, err := s.Get(ctx, s.Addresses().Health, "/metrics")
	if err != nil {
		return 0 // it is only shown
	}
	for _, m := range repeatLine.FindAllSubmatch(page, -1) {
		value, _ := strconv.ParseFloat(string(m[1]), 64)
		n += int(value)
	}
	return n
}
