package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/config"
)

func newAwait() *cobra.Command {
	var url string
	var limit time.Duration
	c := &cobra.Command{
		Use:   "await",
		Short: "Wait until a sidecar is ready",
		Long: "Asks /readyz of the health listener until it says yes, for scripts that start something\n" +
			"beside a sidecar. Ends with 3 when nobody answered within --timeout, with 1 when the sidecar\n" +
			"did and was not ready.",
		Example: "  sidecar run -c remora.yaml &\n  sidecar await && ./app",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			health, err := newClient(url, "")
			if err != nil {
				return err
			}
			return await(c, health, limit)
		},
	}
	c.Flags().StringVar(&url, "url", "http://"+config.Default().Listen.Health, "health listener of a sidecar")
	c.Flags().DurationVar(&limit, "timeout", time.Minute, "wait no longer than so long")
	return c
}

// await asks until the answer is yes, or until limit.
func await(c *cobra.Command, health *client, limit time.Duration) error {
	health.http.Timeout = 5 * time.Second // one that hangs is asked again
	began := time.Now()
	return poll(c.Context(), 100*time.Millisecond, func() (bool, error) {
		r, err := health.do(c.Context(), http.MethodGet, "/readyz", nil, nil)
		switch {
		case err == nil && r.status == http.StatusOK:
			return true, nil
		case time.Since(began) < limit:
			return false, nil
		case err != nil:
			return false, fail(exitUnreachable, "nobody answered within %s: %w; is --url the health listener of a sidecar?", limit, err)
		}
		return false, fail(exitFailed, "not ready within %s: %d %s", limit, r.status, strings.TrimSpace(string(r.body[:min(len(r.body), 200)])))
	})
}

// poll asks at once, and then as often, until it is done, fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, ask func() (done bool, err error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
