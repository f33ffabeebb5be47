package admin

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// slow is a spool whose work takes as long as the test says.
type slow struct {
	Spool
	Archive

	work func(context.Context) error
}

func (s slow) Resend(ctx context.Context, _ spool.ResendFilter, _ bool) (spool.Resent, error) {
	return spool.Resent{Messages: 7}, s.work(ctx)
}

func (s slow) Export(ctx context.Context, w io.Writer, _ spool.Query) (done spool.Exported, err error) {
	if err = s.work(ctx); err == nil {
		_, err = io.WriteString(w, "exported")
	}
	return done, err
}

// Work that takes longer than any deadline of the listener is not cut off: not
// by that of the request, which is read, nor by that of the answer, which is not
// written yet.
func TestLongWorkIsNotCutOff(t *testing.T) {
	const deadline = 2 * time.Second          // in which a request has to arrive, and a process may get no time for a while
	work := func(ctx context.Context) error { // until well behind every deadline, or cut off
		select {
		case <-time.After(2 * deadline):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	count := func(ctx context.Context) (any, error) { return "counted", work(ctx) }
	s := slow{work: work}
	side := New(Options{}, Sources{
		Ledger: count, Stats: count, Status: func() any { return nil },
		Spool: func() Spool { return s }, Archive: func() Archive { return s }, Acknowledge: count,
	})
	side.http.ReadTimeout, side.http.WriteTimeout = deadline, deadline
	addr := serve(t, side)
	for path, want := range map[string]string{
		"GET /v1/ledger": "counted", "GET /v1/spool": "counted", "GET /v1/export": "exported", "POST /v1/messages/resend": `"messages":7`,
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			method, at, _ := strings.Cut(path, " ")
			body := io.Reader(http.NoBody)
			if method == http.MethodPost {
				body = strings.NewReader(`{"filter":{"topic":"t"},"dry_run":true}`)
			}
			req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+at, body)
			if err != nil {
				t.Fatal(err)
			}
			if method == http.MethodPost {
				req.Header.Set("Content-Type", "application/json")
			}
			if got := do(t, req); got.status != http.StatusOK || !strings.Contains(got.body, want) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}
