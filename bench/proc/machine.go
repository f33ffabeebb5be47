package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Busy is the processor time that the whole machine has spent since it started,
// interrupts and what other guests of its host took away included.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read processor time of the machine: %w", err)
	}
	return parseBusy(string(text))
}

// parseBusy sums the first line of proc_stat(5) up, without idle and iowait;
// guest time is part of user time.
func parseBusy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("read processor time of the machine: %q is not its line", line)
	}
	var ticks int64
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time of the machine: %w", err)
		}
		if idle := i == 3 || i == 4; !idle {
			ticks += n
		}
	}
	return time.Duration(ticks) * tick, nil
}
