package main

import (
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
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		r, err := health.do(c.Context(), http.MethodGet, "/readyz", nil, nil)
		switch {
		case err == nil && r.status == http.StatusOK:
			return nil
		case time.Since(began) < limit:
		case err != nil:
			return fail(exitUnreachable, "nobody answered within %s: %w; is --url the health listener of a sidecar?", limit, err)
		default:
			return fail(exitFailed, "not ready within %s: %d %s", limit, r.status, strings.TrimSpace(string(r.body[:min(len(r.body), 200)])))
		}
		select {
		case <-tick.C:
		case <-c.Context().Done():
			return c.Context().Err()
		}
	}
}
