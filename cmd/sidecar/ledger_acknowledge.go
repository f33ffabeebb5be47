package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/sidecar"
)

func newLedgerAcknowledge() *cobra.Command {
	var o operate
	var yes, dryRun bool
	c := &cobra.Command{
		Use:   "acknowledge",
		Short: "Note that you know of the damage that was found",
		Long: "Counts every record, shows what is damaged or lost, and asks. From then on the ledger may\n" +
			"balance again; what is lost stays counted as lost, and the quarantine where it is.",
		Example: "  sidecar ledger acknowledge\n  sidecar ledger acknowledge --dir /var/lib/remora --dry-run",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error { return acknowledge(c, s, out, yes, dryRun) })
	}
	o.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "show what is damaged, and do nothing")
	return c
}

func acknowledge(c *cobra.Command, s *spooler, out *format, yes, dryRun bool) error {
	counting := newCounter(c.ErrOrStderr(), "counting the records")
	var l sidecar.Ledger
	_, err := s.read(c.Context(), "/v1/ledger", &l)
	if counting.end(); err != nil {
		return err
	}
	if !l.Damage.Pending() {
		fmt.Fprintln(c.ErrOrStderr(), "nothing is to be acknowledged")
		return nil
	}
	shown := format{value: "table"}
	if err := shown.print(c.ErrOrStderr(), nil, func(w io.Writer) { ledgerTable(w, &l) }); err != nil {
		return err
	}
	if dryRun {
		fmt.Fprintln(c.OutOrStdout(), "would acknowledge the damage that was found")
		return nil
	}
	if !yes {
		if ok, err := confirm(c, "acknowledge the damage that was found?"); !ok {
			return err
		}
	}
	raw, err := s.ask(c.Context(), http.MethodPost, "/v1/damage/acknowledge")
	if err != nil {
		return err
	}
	return out.print(c.OutOrStdout(), raw, func(w io.Writer) {
		fmt.Fprintln(w, "acknowledged; see: sidecar ledger")
	})
}
