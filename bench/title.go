package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// title says what was measured where: a figure without it means nothing.
func (o *options) title(filesystem string) string {
	return fmt.Sprintf("Durable publishes over HTTP, %d random bytes each; %v a measurement after %v of warm-up.\n%s, %d CPUs, %s%s.",
		o.size, o.measure, o.warmup, runtime.Version(), runtime.NumCPU(), filesystem,
		firstField(", Linux ", "/proc/sys/kernel/osrelease"))
}

// firstField is empty where there is no such file.
func firstField(label, path string) string {
	text, err := os.ReadFile(path)
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 0 {
		return label + fields[0]
	}
	return ""
}
