package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/sidecar"
)

func newSpoolConfirmClock() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:   "confirm-clock",
		Short: "Say that the wall clock is right, after it was set",
		Long: "A wall clock that was set by more than an hour, or a spool in which nothing was written for so\n" +
			"long, may be wrong: no TTL and no idempotency key ends until an hour has passed in which it\n" +
			"was not set again, or somebody confirms it.",
		Example: "  sidecar spool confirm-clock\n  sidecar spool confirm-clock --dir /var/lib/remora",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error { return confirmClock(c, s, out) })
	}
	o.register(c)
	return c
}

func confirmClock(c *cobra.Command, s *spooler, out *format) error {
	raw, err := s.ask(c.Context(), http.MethodPost, "/v1/clock/confirm")
	if err != nil {
		return err
	}
	var got sidecar.ConfirmedClock
	if err := json.Unmarshal(raw, &got); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return out.print(c.OutOrStdout(), raw, func(w io.Writer) {
		if got.Confirmed {
			fmt.Fprintf(w, "confirmed: the wall clock was set by %s; TTLs and idempotency keys end again\n", got.By)
		} else {
			fmt.Fprintln(w, "nothing is to be confirmed")
		}
	})
}
