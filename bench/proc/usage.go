package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has cost since it started.
type Usage struct {
	CPU     time.Duration // user and system
	Written int64         // bytes that it caused to be written to storage
}

// Sub is what was spent since an earlier reading.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{CPU: u.CPU - earlier.CPU, Written: u.Written - earlier.Written}
}

// Read reads the usage of one process, without its children.
func Read(pid int) (u Usage, err error) {
	s, err := readStat(pid)
	if err != nil {
		return u, err
	}
	u.CPU = s.own
	u.Written, err = written(pid)
	return u, err
}

// ReadTree reads the usage of a process and all that descends from it, with
// what ended children have spent.
func ReadTree(pid int) (u Usage, err error) {
	t, err := readTree(pid)
	if err != nil {
		return u, err
	}
	u.CPU = t.cpu()
	u.Written, err = t.sum(written)
	return u, err
}

func written(pid int) (int64, error) { return readField(pid, "io", "write_bytes:") }

// Anonymous reads the anonymous memory of a process, in bytes, to within some
// pages for each processor. Exact would be smaps_rollup, which walks all pages
// while it holds a lock of the process: 15 ms for 500 MiB, in the middle of what
// is measured.
func Anonymous(pid int) (int64, error) {
	kib, err := readField(pid, "status", "RssAnon:")
	return kib << 10, err
}

// Quiet returns when a process and all that descends from it have used less than
// a twentieth of a core for a while, or when most is over.
func Quiet(ctx context.Context, pid int, most time.Duration) error {
	return quiet(ctx, most, func() (time.Duration, error) {
		t, err := readTree(pid)
		return t.cpu(), err
	})
}

func quiet(ctx context.Context, most time.Duration, spent func() (time.Duration, error)) error {
	const step = 200 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	last := time.Duration(-1)
	for end := time.Now().Add(most); time.Now().Before(end); {
		cpu, err := spent()
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
	return 0, fmt.Errorf("read %s: %w", name, errNoLine)
}

// errNoLine is of a process too that has just given its memory back to end.
var errNoLine = errors.New("there is no such line")

// Resident reads how much memory of a process is in RAM, in bytes: its program too.
func Resident(pid int) (int64, error) {
	kib, err := readField(pid, "status", "VmRSS:")
	return kib << 10, err
}

// AnonymousOfTree is the anonymous memory of a process and all that descends from
// it, in bytes. What several share since a fork is counted once. It walks all
// pages, so it is not for the middle of what is measured.
func AnonymousOfTree(pid int) (int64, error) {
	t, err := readTree(pid)
	if err != nil {
		return 0, err
	}
	kib, err := t.sum(func(pid int) (int64, error) { return readField(pid, "smaps_rollup", "Pss_Anon:") })
	return kib << 10, err
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
