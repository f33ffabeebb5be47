package main

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
)

func newLedger() *cobra.Command {
	var o operate
	var compare compareFlags
	c := &cobra.Command{
		Use:   "ledger",
		Short: "Count every record, and compare with what was accepted",
		Long: "Prints for each topic what was accepted and what became of it, after all records of the\n" +
			"spool were read. Ends with 1 when the books do not balance, and names what is missing.\n\n" +
			"With --compare: asks the sidecars that send to a topic, and all members of a group that\n" +
			"consumes it, and names every message that was sent and that no member has handled. Ends\n" +
			"with 1 when there is one, and with 4 while the broker has not confirmed all of them,\n" +
			"or has some for its timer that are not due.",
		Example: "  sidecar ledger\n  sidecar ledger --dir /var/lib/remora -o json\n" +
			"  sidecar ledger --compare --group billing --topic orders --producer http://127.0.0.1:7601 \\\n" +
			"    --member http://127.0.0.1:17601 --member http://127.0.0.1:27601",
		Args: usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := compare.check(&o); err != nil {
			return err
		}
		if compare.on {
			return compare.run(c, &o, out)
		}
		return o.use(c, func(s *spooler) error { return printLedger(c, s, out) })
	}
	o.register(c)
	compare.register(c)
	c.AddCommand(newLedgerAcknowledge())
	return c
}

func printLedger(c *cobra.Command, s *spooler, out *format) error {
	counting := newCounter(c.ErrOrStderr(), "counting the records")
	var l sidecar.Ledger
	raw, err := s.read(c.Context(), "/v1/ledger", &l)
	if counting.end(); err != nil {
		return err
	}
	if err := out.print(c.OutOrStdout(), raw, func(w io.Writer) { ledgerTable(w, &l) }); err != nil {
		return err
	}
	if l.Damage.Pending() {
		fmt.Fprintln(c.ErrOrStderr(), "note: damage was found and is not acknowledged: when you know what it cost, sidecar ledger acknowledge")
	}
	if !l.Balanced {
		return fail(exitFailed, "the ledger does not balance: %s; keep a copy of the directory, its folder quarantine included, and see: sidecar ledger -o json", whyUnbalanced(&l))
	}
	return nil
}

// some bounds the lists that a table names; -o json has all.
const some = 10

func ledgerTable(w io.Writer, l *sidecar.Ledger) {
	fmt.Fprintln(w, "TOPIC\tACCEPTED\tCONFIRMED\tCANCELLED\tROLLED BACK\tDISCARDED\tLOST\tHALF\tDELAYED\tPENDING\tHELD\tIN FLIGHT\tRETRYING\tDEAD\tBYTES")
	row := func(name string, c spool.Counts) {
		n := c.InSpool
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", name, c.Accepted, c.Confirmed, c.Cancelled, c.RolledBack,
			c.Discarded, c.Lost, n.Half, n.Delayed-min(c.DelayedOnHold, n.Delayed), n.Pending-min(c.OnHold, n.Pending), c.OnHold+c.DelayedOnHold,
			n.InFlight, n.Retrying, n.Dead, c.Bytes)
	}
	for _, topic := range slices.Sorted(maps.Keys(l.Topics)) {
		row(topic, l.Topics[topic])
	}
	row("TOTAL", l.Total)
	fmt.Fprintf(w, "\n%d records are held and %d sequences are settled: ", l.Audit.Held, l.Audit.Settled)
	verdict := "NOT balanced"
	if l.Balanced {
		verdict = "balanced"
	}
	fmt.Fprintln(w, verdict)
	lostTable(w, l.Damage.Reports)
	for i, seq := range l.Audit.Missing {
		if i == some {
			fmt.Fprintf(w, "and %d more, see -o json\n", len(l.Audit.Missing)-some)
			break
		}
		fmt.Fprintf(w, "missing: sequence %d\n", seq)
	}
	for i, damage := range l.Audit.Damage {
		if i == some {
			fmt.Fprintf(w, "and %d more, see -o json\n", len(l.Audit.Damage)-some)
			break
		}
		fmt.Fprintf(w, "damaged: %s\n", printable(damage))
	}
}
