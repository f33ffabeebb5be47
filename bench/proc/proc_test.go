package proc

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 150 25 30 7 20 0 1"
	want := stat{parent: 1, own: 1750 * time.Millisecond, waited: 370 * time.Millisecond}
	ended := want
	ended.zombie = true
	tests := []struct {
		name, stat string
		want       stat
		ok         bool
	}{
		{"plain", "42 (sidecar)" + rest, want, true},
		{"a name with blanks and brackets", "42 (a) b (c)" + rest, want, true},
		{"ended", "42 (sidecar)" + strings.Replace(rest, "S", "Z", 1), ended, true},
		{"cut off", "42 (sidecar) S 1 2", stat{}, false},
		{"not numbers", "42 (sidecar)" + strings.Replace(rest, "150", "x", 1), stat{}, false},
		{"empty", "", stat{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.stat)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestParseBusy(t *testing.T) {
	tests := []struct {
		name, stat string
		want       time.Duration
		ok         bool
	}{
		{"all but idle, iowait and guests", "cpu  1 20 300 999 999 4000 50000 600000 7 7\ncpu0 1 1\n", 6543210 * time.Millisecond, true},
		{"too short", "cpu 1 2 3\n", 0, false},
		{"another line", "cpu0 1 2 3 4 5 6 7 8 9 10\n", 0, false},
		{"not numbers", "cpu 1 2 x 4 5 6 7 8 9 10\n", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := parseBusy(tt.stat); got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestParseField(t *testing.T) {
	const text = "wchar: 9\nwrite_bytes: 4096\ncancelled_write_bytes: 7\nRssAnon:\t      12 kB\nempty:\n"
	tests := []struct {
		name string
		want int64
		ok   bool
	}{
		{"write_bytes:", 4096, true},
		{"RssAnon:", 12, true},
		{"bytes:", 0, false},
		{"empty:", 0, false},
	}
	for _, tt := range tests {
		if got, err := parseField(text, tt.name); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: got %d, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}

func TestUsageIsOfTheTimeBetween(t *testing.T) {
	got := Usage{CPU: 5, Written: 70}.Sub(Usage{CPU: 2, Written: 30})
	if want := (Usage{CPU: 3, Written: 40}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestQuiet has clocks of processes that work for some time; a busy machine
// would let a real one look idle.
func TestQuiet(t *testing.T) {
	tests := []struct {
		name  string
		works time.Duration // at a tenth of a core
		want  time.Duration
	}{
		{"idle", 0, 200 * time.Millisecond},
		{"works a second", time.Second, 1200 * time.Millisecond},
		{"never stops", time.Hour, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				spent := func() (time.Duration, error) { return min(time.Since(began), tt.works) / 10, nil }
				if err := quiet(t.Context(), time.Minute, spent); err != nil || time.Since(began) != tt.want {
					t.Errorf("%v after %v, want %v", err, time.Since(began), tt.want)
				}
			})
		})
	}
}

func TestQuietEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := quiet(ctx, time.Minute, func() (time.Duration, error) { return time.Since(began), nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStop(t *testing.T) {
	tests := []struct {
		name, script, want string
		grace              time.Duration
	}{
		{"ends when asked", `trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done`, "", 10 * time.Second},
		{"tells a failure", `trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done`, "exit status 3", 10 * time.Second},
		{"is killed", `trap '' TERM; echo ready; while :; do sleep 0.01; done`, "was killed", 50 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := startReady(t, tt.script)
			err := p.Stop(tt.grace)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			select {
			case <-p.Exited():
			default:
				t.Error("it still runs")
			}
		})
	}
}

// startReady returns when the script has said so.
func startReady(t *testing.T, script string) *Process {
	t.Helper()
	return awaitReady(t, exec.Command("sh", "-c", script))
}

func awaitReady(t *testing.T, cmd *exec.Cmd) *Process {
	t.Helper()
	ready := make(chan struct{}, 1)
	cmd.Stdout = writerFunc(func(b []byte) (int, error) { ready <- struct{}{}; return len(b), nil })
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	return p
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestMissingProgramIsAnError(t *testing.T) {
	if _, err := Start(exec.Command("/nonexistent")); err == nil {
		t.Error("no error")
	}
}
