package rocketmq

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// shared is one name server and one broker for all tests of this package, who
// leave both running.
var shared *Cluster

func TestMain(m *testing.M) {
	if os.Getenv(orphanEnv) != "" {
		beParent()
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	c, err := New(Options{})
	if err != nil {
		return fail(err)
	}
	shared = c
	if code = m.Run(); code != 0 {
		fmt.Fprintln(os.Stderr, c.Tail())
	}
	if err := c.Close(); err != nil {
		return fail(err)
	}
	if exists(c.dir) {
		return fail(fmt.Errorf("%s is left behind", c.dir))
	}
	if err := goleak.Find(); err != nil {
		return fail(err)
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
