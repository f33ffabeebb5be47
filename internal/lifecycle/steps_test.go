package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errStuck = errors.New("listener is stuck")

// diary records which steps were performed, in order.
type diary struct{ done []string }

func (d *diary) step(name string, err error) lifecycle.Step {
	return lifecycle.Step{Name: name, Do: func(context.Context) error {
		d.done = append(d.done, name)
		return err
	}}
}

func TestStepsRunInDeclaredOrderThroughFailures(t *testing.T) {
	var d diary
	steps := lifecycle.Steps{
		d.step("stop fetching", nil),
		d.step("stop accepting", errStuck),
		d.step("close spool", nil),
	}
	err := steps.Run(t.Context(), slog.New(slog.DiscardHandler))

	if !slices.Equal(d.done, steps.Names()) {
		t.Errorf("performed %q, want %q", d.done, steps.Names())
	}
	if !errors.Is(err, errStuck) || !strings.Contains(err.Error(), "stop accepting: listener is stuck") {
		t.Errorf("error = %v, want it to name the step and its cause", err)
	}
}

func TestStepsCollectEveryError(t *testing.T) {
	errOther := errors.New("disk is gone")
	var d diary
	err := lifecycle.Steps{d.step("a", errStuck), d.step("b", nil), d.step("c", errOther)}.
		Run(t.Context(), slog.New(slog.DiscardHandler))
	if !errors.Is(err, errStuck) || !errors.Is(err, errOther) {
		t.Errorf("error = %v, want both causes", err)
	}
}

func TestStepIsToldWhenItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		obedient := lifecycle.Step{Name: "drain", Timeout: 25 * time.Second, Do: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		began := time.Now()
		err := lifecycle.Steps{obedient, d.step("close spool", nil)}.Run(t.Context(), slog.New(slog.DiscardHandler))

		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, lifecycle.ErrAbandoned) {
			t.Errorf("error = %v, want only a deadline", err)
		}
		if took := time.Since(began); took != 25*time.Second {
			t.Errorf("took %v, want 25s", took)
		}
		if len(d.done) != 1 {
			t.Error("the step after the slow one was not performed")
		}
	})
}

func TestStepThatIgnoresItsContextIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var d diary
		deaf := lifecycle.Step{Name: "close spool", Timeout: time.Second, Do: func(context.Context) error {
			<-release
			return nil
		}}
		err := lifecycle.Steps{deaf, d.step("release lock", nil)}.Run(t.Context(), slog.New(slog.DiscardHandler))

		if !errors.Is(err, lifecycle.ErrAbandoned) {
			t.Errorf("error = %v, want ErrAbandoned", err)
		}
		if len(d.done) != 1 {
			t.Error("the step after the deaf one was not performed")
		}
		close(release)
	})
}

func TestStepsStillRunWhenTheCallerHasGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var d diary
	if err := (lifecycle.Steps{d.step("close spool", nil)}).Run(ctx, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("error = %v, want none", err)
	}
	if len(d.done) != 1 {
		t.Error("the step was skipped")
	}
}

func TestStepsLogEachStepOnce(t *testing.T) {
	var out bytes.Buffer
	var d diary
	_ = lifecycle.Steps{d.step("stop fetching", nil), d.step("close spool", errStuck)}.
		Run(t.Context(), slog.New(slog.NewTextHandler(&out, nil)))

	for _, want := range []string{`step="stop fetching"`, `step="close spool"`} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("log has not exactly one %s:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), errStuck.Error()) {
		t.Error("the error was logged although it is returned")
	}
}
