package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/test/rocketmq"
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// brokerOptions: a broker that was killed recovers its index of keys too, which
// by default it leaves with a gap (MessageStoreConfig.messageIndexSafe).
var brokerOptions = map[string]string{"messageIndexSafe": "true"}

func run(m *testing.M) (code int, err error) {
	if shared, err = rocketmq.New(rocketmq.Options{Brokers: []rocketmq.BrokerOptions{{Extra: brokerOptions}}}); err != nil {
		return 1, err
	}
	if code = m.Run(); code != 0 {
		fmt.Fprintln(os.Stderr, shared.Tail())
	}
	return code, errors.Join(shared.Close(), goleak.Find())
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("not done after %v", limit))
	t.Cleanup(cancel)
	return ctx
}
