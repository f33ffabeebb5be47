package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/sidecar"
)

func newSpoolAdopt() *cobra.Command {
	var s settings
	var timeout time.Duration
	var delayed bool
	c := &cobra.Command{
		Use:   "adopt DIR",
		Short: "Forward what a sidecar that is gone has left in its spool",
		Long: "Takes over the spool.dir of a sidecar that does not run any more, and forwards what it holds\n" +
			"to the broker of the configuration, under the same message IDs, until nothing waits, or the\n" +
			"timeout, or Ctrl-C. Then it counts every record. Dead letters and messages on hold stay, and\n" +
			"so do delayed ones that are not due: with --delayed it goes on until they are, however long\n" +
			"that takes, and forwards each when it is due. Transactions that nobody has decided are asked\n" +
			"for at transactions.adopted_check_url; without it they are undecided, and stay until an\n" +
			"operator decides them (sidecar tx list --dir DIR). Ends with 4 when some are left: they are\n" +
			"safe in DIR, and it can be done again.",
		Example: "  sidecar spool adopt /mnt/old-volume -c remora.yaml --timeout 10m\n  sidecar spool adopt /mnt/old-volume -c remora.yaml --delayed",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return s.adopt(c, sidecar.Adoption{Dir: args[0], Within: timeout, Delayed: delayed}, out)
	}
	s.register(c)
	c.Flags().DurationVar(&timeout, "timeout", 0, "stop forwarding after so long; 0: never")
	c.Flags().BoolVar(&delayed, "delayed", false, "go on until the delayed messages are due, and forward them too")
	return c
}

func (s *settings) adopt(c *cobra.Command, a sidecar.Adoption, out *format) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal is not caught
	waiting := newCounter(c.ErrOrStderr(), "messages wait")
	a.Tell = func(n uint64) { waiting.set(int64(n)) }
	adopted, err := sidecar.Adopt(ctx, cfg.Config, version, quietLog(c.ErrOrStderr()), a)
	if waiting.end(); err != nil {
		return err
	}
	raw, err := json.Marshal(adopted)
	if err != nil {
		return err
	}
	if err := out.print(c.OutOrStdout(), raw, func(w io.Writer) { adoptedTable(w, &adopted) }); err != nil {
		return err
	}
	return verdictOf(&adopted, a.Dir)
}

// verdictOf is an error unless everything was forwarded and accounted for.
func verdictOf(adopted *sidecar.Adopted, dir string) error {
	switch n := adopted.After.InSpool; {
	case !adopted.Balanced:
		return fail(exitFailed, "the ledger of %s does not balance: see what is missing by 'sidecar ledger --dir %s'", dir, dir)
	case adopted.Left() > 0:
		return fail(exitPartly, "left in %s: %s; %d dead letters, %d held by an operator, %d that are not due yet (--delayed waits for these), %d of transactions that nobody has decided (see 'sidecar tx list --dir %s'), %d of topics that are paused (see 'sidecar topic list --dir %s'), %d that wait behind these, or for which there was no time; see 'sidecar queue list --dir %s'",
			dir, messages(int(adopted.Left())), n.Dead, adopted.After.OnHold+adopted.After.DelayedOnHold, n.Delayed-adopted.After.DelayedOnHold, n.Half, dir, adopted.Paused, dir,
			adopted.Left()-n.Dead-n.Delayed-n.Half-adopted.After.OnHold-adopted.Paused, dir)
	}
	return nil
}

func adoptedTable(w io.Writer, a *sidecar.Adopted) {
	fmt.Fprintln(w, "\tBEFORE\tAFTER")
	for _, row := range []struct {
		name          string
		before, after uint64
	}{
		{"accepted", a.Before.Accepted, a.After.Accepted}, {"confirmed", a.Before.Confirmed, a.After.Confirmed},
		{"held", a.Before.InSpool.Held(), a.Left()}, {"of these dead", a.Before.InSpool.Dead, a.After.InSpool.Dead},
	} {
		fmt.Fprintf(w, "%s\t%d\t%d\n", row.name, row.before, row.after)
	}
	fmt.Fprintf(w, "\n%d records are held and %d sequences are settled: ", a.Audit.Held, a.Audit.Settled)
	if a.Balanced {
		fmt.Fprintln(w, "balanced")
		return
	}
	fmt.Fprintln(w, "NOT balanced")
}
