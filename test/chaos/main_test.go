package chaos

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/test/rocketmq"
)

// shared is one name server and two masters, for all tests. Each has links, a
// sidecar and topics of its own, and leaves the cluster as it was.
var shared *rocketmq.Cluster

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// options: brokers that flush before SEND_OK, are known under an address that is
// their links', and take messages only of who signs with the secret of a user.
// What a test asks of them itself is let through.
func options() rocketmq.Options {
	one := rocketmq.BrokerOptions{Host: "127.0.0.2", Extra: map[string]string{
		"authenticationEnabled":          "true",
		"authenticationProvider":         "org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
		"authenticationMetadataProvider": "org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
		"initAuthenticationUser":         fmt.Sprintf(`{"username":%q,"password":%q}`, user, secret),
		"authenticationWhitelist":        rocketmq.RequestCodes(),
		"userCacheExpiredSecond":         "1",
		"userCacheRefreshSecond":         "1",
	}}
	return rocketmq.Options{Brokers: []rocketmq.BrokerOptions{one, one}}
}

const user, secret = "remora", "first"

func run(m *testing.M) (code int, err error) {
	if shared, err = rocketmq.New(options()); err != nil {
		return 1, err
	}
	if code = m.Run(); code != 0 {
		fmt.Fprintln(os.Stderr, shared.Tail())
	}
	return code, errors.Join(shared.Close(), goleak.Find())
}
