package main

import (
	"testing"
	"time"
)

// Ages are written with days, too, as lists show them.
func TestAgesHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{"2d": 48 * time.Hour, "90m": 90 * time.Minute} {
		for name, read := range map[string]func(string) (time.Time, error){"since": timeOf, "to": timeOrAge} {
			at, err := read(text)
			if ago := time.Since(at); err != nil || ago < want || ago > want+time.Minute {
				t.Errorf("--%s %s: %v ago, %v", name, text, ago, err)
			}
			if _, err := read("-" + text); err == nil {
				t.Errorf("--%s -%s is an age", name, text)
			}
		}
	}
}
