package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const nothingLeft = `"waiting":0,"ending":0,"delayed":0,"half":0,"held":0,"dead":0,"topics":[]`

// A drain is stopped when its command is told to end, though the sidecar does not say how
// far it is: nobody else would.
func TestDrainIsStoppedWithItsCommand(t *testing.T) {
	for _, signal := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			drainIsStopped(t, map[string]http.HandlerFunc{
				"POST /v1/drain": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) },
				"GET /v1/operations/o": func(w http.ResponseWriter, r *http.Request) {
					if err := unix.Kill(unix.Getpid(), signal); err != nil {
						t.Error(err)
					}
					select {
					case <-r.Context().Done():
					case <-time.After(30 * time.Second): // it waits for this answer
						w.WriteHeader(http.StatusGone)
					}
				},
			})
		})
	}
}

// drainIsStopped fails the test unless a drain ends as it does when its operation was told
// to stop, with 2 messages left. at is what the sidecar does before it answers a request.
func drainIsStopped(t *testing.T, at map[string]http.HandlerFunc) {
	t.Helper()
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what, state := r.Method+" "+r.URL.Path, "running"
		if do := at[what]; do != nil {
			do(w, r)
		}
		if what == "POST /v1/operations/o/stop" {
			state = "stopped"
		}
		_, _ = fmt.Fprintf(w, `{"id":"o","state":%q,"drained":false,"left":{%s}}`, state, strings.Replace(nothingLeft, "0", "2", 1))
	}))
	defer side.Close()
	if code, out, says := say("drain", "--url", side.URL); code != exitPartly || !strings.Contains(out, "\n2") || !strings.Contains(says, "still wait for the broker") {
		t.Errorf("ended with %d: %s%s", code, out, says)
	}
}

// Before the spool is open it is not known what is left.
func TestDrainOfASpoolThatIsNotOpen(t *testing.T) {
	side := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"id":"o","state":"stopped","drained":false,"left":{%s}}`, nothingLeft)
	}))
	defer side.Close()
	if code, _, says := say("drain", "--url", side.URL); code != exitPartly || !strings.Contains(says, "not open yet") {
		t.Errorf("ended with %d: %s", code, says)
	}
}
