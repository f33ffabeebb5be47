package proc

import (
	"strings"
	"testing"
)

func TestBusyMachineIsSaidLoudly(t *testing.T) {
	for cores, loud := range map[float64]bool{-0.01: false, 0.19: false, 0.21: true, 2: true} {
		got := sayOthers(cores, 2)
		if strings.Contains(got, "***") != loud || strings.Contains(got, "-") {
			t.Errorf("%v cores: %q", cores, got)
		}
	}
}
