package proc

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// busyEnv makes the test binary a child with many threads at work.
const busyEnv = "REMORA_TEST_BUSY"

func TestMain(m *testing.M) {
	if os.Getenv(busyEnv) != "" {
		beBusy()
	}
	goleak.VerifyTestMain(m)
}

func beBusy() {
	for range 8 {
		go func() {
			for {
				_ = os.Getppid()
			}
		}()
	}
	fmt.Println("ready")
	select {}
}
