package rocketmq

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// atEnd runs after all tests.
var atEnd []func() error

func TestMain(m *testing.M) {
	code := m.Run()
	for _, end := range atEnd {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if left := ourGoroutines(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines of this package are left:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// ourGoroutines returns the stacks in which this package has a frame. The
// library's own are left behind for up to an hour: goleak would report those.
func ourGoroutines() string {
	var left []string
	for range 50 {
		left = left[:0]
		buf := make([]byte, 4<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "remora/broker/rocketmq.") && !strings.Contains(stack, "TestMain") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
		time.Sleep(100 * time.Millisecond)
	}
	return strings.Join(left, "\n\n")
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
