package proc

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has cost since it started, and holds now.
type Usage struct {
	CPU       time.Duration // user and system
	Written   int64         // bytes that it caused to be written to storage
	Anonymous int64         // bytes of memory that no file backs
}

// Sub is what was spent since an earlier reading; the memory is that of now.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{CPU: u.CPU - earlier.CPU, Written: u.Written - earlier.Written, Anonymous: u.Anonymous}
}

// Read reads the usage of a process.
func Read(pid int) (u Usage, err error) {
	if u.CPU, err = readCPU(pid); err != nil {
		return u, err
	}
	if u.Written, err = readField(pid, "io", "write_bytes:"); err != nil {
		return u, err
	}
	u.Anonymous, err = Anonymous(pid)
	return u, err
}

// Anonymous reads the anonymous memory of a process, in bytes, to within some
// pages for each processor. Exact would be smaps_rollup, which walks all pages
// while it holds a lock of the process: 15 ms for 500 MiB, in the middle of what
// is measured.
func Anonymous(pid int) (int64, error) {
	kib, err := readField(pid, "status", "RssAnon:")
	return kib << 10, err
}

// Quiet returns when the process has used less than a twentieth of a core for a
// while, or when most is over.
func Quiet(ctx context.Context, pid int, most time.Duration) error {
	const step = 200 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	last := time.Duration(-1)
	for end := time.Now().Add(most); time.Now().Before(end); {
		cpu, err := readCPU(pid)
		if err != nil {
			return err
		}
		if last >= 0 && cpu-last < step/20 {
			return nil
		}
		last = cpu
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func readCPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return parseCPU(string(text))
}

// tick is USER_HZ: 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// parseCPU reads utime and stime, fields 14 and 15 of proc_pid_stat(5), in
// ticks of 10 ms. The second field is a name that may hold anything.
func parseCPU(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("read processor time: %q is not a process's stat", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(user+system) * tick, nil
}

func readField(pid int, file, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	return parseField(string(text), name)
}

// parseField reads the number behind a name at the start of a line.
func parseField(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("read %s: there is no such line", name)
}

// MostAnonymous samples the anonymous memory of a process until ctx is done,
// and returns the most that it saw.
func MostAnonymous(ctx context.Context, pid int) (most int64, err error) {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		now, err := Anonymous(pid)
		if err != nil {
			return most, err
		}
		most = max(most, now)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return most, nil
		}
	}
}
