package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		state := "running"
		switch r.Method + " " + r.URL.Path {
		case "POST /v1/drain":
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
		case "POST /v1/operations/o/stop":
			state = "stopped"
		}
		_, _ = fmt.Fprintf(w, `{"id":"o","state":%q,"drained":false,"left":{%s}}`, state, strings.Replace(nothingLeft, "0", "2", 1))
	}))
	defer side.Close()
	if code, out, says := say("drain", "--url", side.URL); code != exitPartly || !strings.Contains(out, "\n2") || !strings.Contains(says, "still wait for the broker") {
		t.Errorf("ended with %d: %s%s", code, out, says)
	}
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
