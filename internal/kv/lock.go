package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockName  = "OWNER"
	lockRetry = 50 * time.Millisecond
)

// lockDir takes the directory for this open file, so that two opens of one
// process exclude each other too. Badger's own lock comes later and is let go
// between recovery and use, so it cannot serve for both.
//
// A salvage puts another directory in the place of dir: a lock that was waited
// for meanwhile is one of the old directory, and taken again.
func lockDir(ctx context.Context, dir string, wait time.Duration) (*os.File, error) {
	for {
		f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		if err := flock(ctx, f, wait); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if !inPlace(f) {
			_ = f.Close() // nothing was written
			continue
		}
		if err := writePID(f); err != nil {
			return nil, errors.Join(fmt.Errorf("write lock: %w", err), f.Close())
		}
		return f, nil
	}
}

// inPlace reports whether f is still the file of its name.
func inPlace(f *os.File) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(held, named)
}

func flock(ctx context.Context, f *os.File, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock: %w", err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return lockedBy(f)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", lockedBy(f), context.Cause(ctx))
		case <-time.After(min(left, lockRetry)):
		}
	}
}

func lockedBy(f *os.File) error {
	dir := filepath.Dir(f.Name())
	pid, _ := os.ReadFile(f.Name())
	if holder := strings.TrimSpace(string(pid)); holder != "" {
		return fmt.Errorf("%w: %s is held by process %s; stop it or choose another directory", ErrLocked, dir, holder)
	}
	return fmt.Errorf("%w: %s is held by another process; stop it or choose another directory", ErrLocked, dir)
}

// writePID overwrites what is there, which needs no room on the volume. A full
// one leaves a new file empty: then nobody is named, and the lock is held all the
// same.
func writePID(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil
	}
	return err
}
