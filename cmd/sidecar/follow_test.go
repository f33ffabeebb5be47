package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// An interrupt while a drain is being asked for ends as one that comes later does: what
// the sidecar has begun is stopped.
func TestInterruptOfTheFirstRequestStopsADrain(t *testing.T) {
	heard := make(chan os.Signal, 1) // by this process, of which the command is a part
	signal.Notify(heard, unix.SIGINT)
	defer signal.Stop(heard)
	drainIsStopped(t, map[string]http.HandlerFunc{"POST /v1/drain": func(w http.ResponseWriter, r *http.Request) {
		if err := unix.Kill(unix.Getpid(), unix.SIGINT); err != nil {
			t.Error(err)
		}
		<-heard
		select {
		case <-r.Context().Done():
			t.Error("the command does not wait for the answer")
		case <-time.After(200 * time.Millisecond): // no longer than it may take to give up
		}
		w.WriteHeader(http.StatusAccepted)
	}})
}

// Who is interrupted waits for an answer, and not for ever.
func TestInterruptedCommandsArePatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		late, done := patiently(ctx)
		defer done()
		time.Sleep(time.Hour)
		interrupt()
		began := time.Now()
		synctest.Wait()
		if late.Err() != nil {
			t.Error("it waits for no answer")
		}
		<-late.Done()
		if took := time.Since(began); took != patience {
			t.Errorf("it waits for %s", took)
		}
		_, done = patiently(ctx)
		done() // what waits has gone, or the bubble does not end
	})
}

// What is not answered by then may have begun: it is said, and is not "cannot reach".
func TestInterruptedAndNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := following[drained]{begin: func(ctx context.Context, _ *spooler) (json.RawMessage, error) {
			<-ctx.Done()
			return nil, fail(exitUnreachable, "cannot reach the sidecar: %w", ctx.Err())
		}}
		ctx, interrupt := context.WithCancel(t.Context())
		interrupt()
		if _, err := f.begun(ctx, nil); codeOf(err) != exitPartly || !strings.Contains(err.Error(), "did not say within 15s") {
			t.Errorf("ended with %d: %v", codeOf(err), err)
		}
	})
}
