package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/sidecar"
)

func newSpool() *cobra.Command {
	c := &cobra.Command{
		Use:     "spool",
		Short:   "Look at a spool's directory, check, repair, move and adopt it",
		Long:    "A running sidecar owns its spool, and is then asked by its admin API.",
		Example: "  sidecar spool stats\n  sidecar spool verify --dir /var/lib/remora",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newSpoolStats(), newSpoolVerify(), newSpoolRepair(), newSpoolExport(), newSpoolImport(), newSpoolAdopt(), newSpoolConfirmClock())
	return c
}

func newSpoolStats() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     "stats",
		Short:   "Say what the spool holds, in messages and in blocks of the disk",
		Example: "  sidecar spool stats -c remora.yaml",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error {
			var stats sidecar.Stats
			raw, err := s.read(c.Context(), "/v1/spool", &stats)
			if err != nil {
				return err
			}
			return out.print(c.OutOrStdout(), raw, func(w io.Writer) { statsTable(w, &stats) })
		})
	}
	o.register(c)
	return c
}

func statsTable(w io.Writer, s *sidecar.Stats) {
	n := s.Ledger.InSpool
	fmt.Fprintf(w, "spool\t%s\t%s\n", s.Spool.ID, s.Spool.Dir)
	fmt.Fprintf(w, "held\t%s\t%s of %s, %d topics\n", messages(int(n.Held())), size(int64(s.Ledger.Bytes)), size(int64(s.Spool.RoomBytes)), s.Topics)
	fmt.Fprintf(w, "\tpending %d (%d held by an operator)\tin flight %d, retrying %d, dead %d\n", n.Pending, s.Ledger.OnHold, n.InFlight, n.Retrying, n.Dead)
	if n.Half > 0 {
		fmt.Fprintf(w, "\thalf %d\tof transactions: %d half, %d undecided\n", n.Half, s.Spool.Transactions.Half, s.Spool.Transactions.Undecided)
	}
	if n.Delayed > 0 {
		fmt.Fprintf(w, "\tdelayed %d (%d held by an operator)\n", n.Delayed, s.Ledger.DelayedOnHold)
	}
	if at := s.Spool.OldestUnconfirmed; at != nil {
		fmt.Fprintf(w, "oldest\t%s\tunconfirmed\n", age(*at))
	}
	k := &s.Known
	fmt.Fprintf(w, "receipts\t%d\t%s\n", k.Receipts, budget(k.ReceiptBytes, k.ReceiptsLimit))
	fmt.Fprintf(w, "idempotency keys\t%d\t%s\n", k.DedupeKeys, budget(k.DedupeBytes, k.DedupeMaxBytes))
	fmt.Fprintf(w, "dedupe marks\t%d\t%s, all of the last %s\n", s.Marks.Marks, budget(s.Marks.Bytes, s.Marks.LimitBytes), lasting(s.Marks.Window))
	fmt.Fprintf(w, "retained\t%d\t%s\n", s.Kept.Blocks, budget(s.Kept.Bytes, s.Kept.Limit))
	for _, kind := range slices.Sorted(maps.Keys(s.Disk)) {
		d := s.Disk[kind]
		fmt.Fprintf(w, "disk: %s\t%s\tin %d files\n", kind, size(d.Allocated), d.Files)
	}
}

// budget is what is taken, of what may be.
func budget(bytes, limit int64) string { return size(bytes) + " of " + size(limit) }

func newSpoolVerify() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read and check every file, then count every record",
		Long: "Reads every table and log of a directory, and compares the checksums. That changes nothing;\n" +
			"damage ends it there, with 1, so that the files stay as they are. Else the spool is opened,\n" +
			"as a start opens it, and every record counted, as 'sidecar ledger' does. So a spool that was\n" +
			"killed is recovered: its log is written to tables, without what was never acknowledged, and\n" +
			"a new epoch begins. No message is forwarded, dropped or set aside. To look at the files\n" +
			"alone: 'sidecar spool repair --dry-run'. A running sidecar counts, and its files are not\n" +
			"read: what it says of damage is what it has met.",
		Example: "  sidecar spool verify --dir /var/lib/remora",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		clean, err := o.verifyFiles(c, out)
		if err != nil || !clean {
			return err
		}
		return o.use(c, func(s *spooler) error {
			if s.offline == nil {
				fmt.Fprintln(c.ErrOrStderr(), "note: a sidecar has this spool; its records are counted, its files are not read")
			}
			return printLedger(c, s, out)
		})
	}
	o.register(c)
	return c
}

// verifyFiles reads the files of a directory that no sidecar has.
func (o *operate) verifyFiles(c *cobra.Command, out *format) (clean bool, err error) {
	if !o.names() {
		return true, nil
	}
	cfg, err := o.config()
	if err != nil {
		return false, err
	}
	reading := newCounter(c.ErrOrStderr(), "reading the files")
	found, err := sidecar.Verify(c.Context(), cfg.Spool.Dir)
	reading.end()
	switch {
	case errors.Is(err, kv.ErrLocked):
		return true, nil
	case err != nil:
		return false, err
	case len(found) == 0:
		fmt.Fprintln(c.ErrOrStderr(), "note: every file is whole")
		return true, nil
	}
	raw, err := json.Marshal(map[string][]kv.Finding{"found": found})
	if err != nil {
		return false, err
	}
	if err := out.print(c.OutOrStdout(), raw, func(w io.Writer) { findingsTable(w, found) }); err != nil {
		return false, err
	}
	return false, fail(exitFailed, "%s; copy the directory, then: sidecar spool repair --dir %s", plural(uint64(len(found)), "place is damaged", "places are damaged"), cfg.Spool.Dir)
}

func findingsTable(w io.Writer, found []kv.Finding) {
	for _, f := range found {
		fmt.Fprintf(w, "damaged: %s\n", printable(f.String()))
	}
}

func newSpoolRepair() *cobra.Command {
	var o operate
	var yes, dryRun bool
	c := &cobra.Command{
		Use:   "repair",
		Short: "Save what can be read of a damaged spool",
		Long: "Does on purpose what every start does by itself: files that are damaged are copied to the\n" +
			"folder quarantine, and what can be read of them is written anew, under the same message\n" +
			"IDs. Says what was found and counts every record. Ends with 1 while something is missing.",
		Example: "  sidecar spool repair --dir /var/lib/remora",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return o.repair(c, out, yes, dryRun) }
	o.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say what is damaged, and do nothing")
	return c
}

func (o *operate) repair(c *cobra.Command, out *format, yes, dryRun bool) error {
	if !o.names() {
		return fail(exitUsage, "name the directory of a sidecar that is stopped, by --dir; a running one repairs its spool when it starts")
	}
	cfg, err := o.config()
	if err != nil {
		return err
	}
	found, err := sidecar.Verify(c.Context(), cfg.Spool.Dir)
	if err != nil {
		return err
	}
	for _, f := range found {
		fmt.Fprintf(c.ErrOrStderr(), "damaged: %s\n", printable(f.String()))
	}
	if dryRun {
		fmt.Fprintf(c.OutOrStdout(), "would repair %d damaged places\n", len(found))
		return nil
	}
	if len(found) > 0 && !yes {
		if ok, err := confirm(c, fmt.Sprintf("repair %d damaged places?", len(found))); !ok {
			return err
		}
	}
	return o.use(c, func(s *spooler) error {
		if s.offline == nil {
			return fail(sidecar.ExitLocked, "a sidecar has taken the spool meanwhile; it has repaired it: see 'sidecar ledger'")
		}
		d := s.offline.Damage()
		if d != nil {
			fmt.Fprintf(c.ErrOrStderr(), "note: %d entries of damaged tables were written anew; the damaged files are in %v\n", d.Restored, d.Quarantine)
		}
		if err := printLedger(c, s, out); err != nil || d == nil || len(d.Lost) == 0 {
			return err
		}
		return fail(exitFailed, "of commits %v something is missing, or may be; compare with what the applications know, and keep the quarantine", d.Lost)
	})
}
