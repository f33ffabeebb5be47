package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/sidecar"
)

func newDrain() *cobra.Command {
	var o operate
	var all bool
	var limit time.Duration
	c := &cobra.Command{
		Use:   "drain",
		Short: "Wait until all that can be sent is confirmed by the broker",
		Long: "Waits until no message of a running sidecar waits for the broker. The sidecar goes on\n" +
			"accepting, and what it accepts meanwhile is waited for, too: stop what publishes first.\n" +
			"Delayed messages, half ones, those on hold and dead letters wait for something else, as does\n" +
			"what is behind them in its ordering key. They are named; with --all they are waited for:\n" +
			"nothing is left in the spool then.\n\n" +
			"Ends with 4 when something is left after --timeout.",
		Example: "  sidecar drain --timeout 5m\n  sidecar drain --all   # before its volume is deleted",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if limit < 0 {
			return fail(exitUsage, "--timeout %s is less than nothing", limit)
		}
		return o.use(c, func(s *spooler) error {
			left, err := drained(c, s, limit, all)
			if err != nil {
				return err
			}
			return left.report(c, out)
		})
	}
	o.registerRunning(c)
	c.Flags().BoolVar(&all, "all", false, "wait for all that is held, whatever it waits for")
	c.Flags().DurationVar(&limit, "timeout", 0, "wait no longer than so long, as 5m; 0: as long as it takes")
	return c
}

// leftOver is what a spool holds, by what it waits for.
type leftOver struct {
	Drained bool   `json:"drained"` // nothing is left of what was waited for
	Waiting uint64 `json:"waiting"` // for the broker; those that are to be sent again, too
	Ending  uint64 `json:"ending"`  // transactions, for their broker to confirm what was decided
	Delayed uint64 `json:"delayed"` // for its time
	Half    uint64 `json:"half"`    // for a decision, or for a broker to take it
	Held    uint64 `json:"held"`    // for an operator; those behind them, or behind dead letters, too
	Dead    uint64 `json:"dead"`
}

func leftIn(s *sidecar.SpoolStatus, all bool) leftOver {
	n := s.Messages
	waiting := n.Pending + n.InFlight + n.Retrying
	held := min(s.KeptBack, waiting)
	left := leftOver{Waiting: waiting - held + s.Resending, Ending: uint64(s.Transactions.Ending), Delayed: n.Delayed, Half: n.Half, Held: held, Dead: n.Dead}
	left.Drained = left.Waiting+left.Ending == 0 && (!all || n.Held() == 0)
	return left
}

// drained waits until a spool is, or until limit.
func drained(c *cobra.Command, s *spooler, limit time.Duration, all bool) (left leftOver, err error) {
	counting := newCounter(c.ErrOrStderr(), "messages wait")
	defer counting.end()
	began := time.Now()
	err = poll(c.Context(), 200*time.Millisecond, func() (bool, error) {
		var status sidecar.Status
		if _, err := s.read(c.Context(), "/v1/status", &status); err != nil {
			return false, err
		}
		if status.Spool != nil { // else it is being opened
			left = leftIn(status.Spool, all)
			counting.set(int64(left.Waiting + left.Ending))
		}
		return left.Drained || limit > 0 && time.Since(began) > limit, nil
	})
	return left, err
}

func (l leftOver) report(c *cobra.Command, out *format) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	err = out.print(c.OutOrStdout(), raw, func(w io.Writer) {
		fmt.Fprintln(w, "WAITING\tENDING\tDELAYED\tHALF\tHELD\tDEAD")
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\n", l.Waiting, l.Ending, l.Delayed, l.Half, l.Held, l.Dead)
	})
	switch {
	case err != nil || l.Drained:
		return err
	case l.Waiting+l.Ending == 0:
		return fail(exitPartly, "what is left does not wait for the broker: see 'sidecar queue list' and 'sidecar tx list'")
	}
	return fail(exitPartly, "messages still wait for the broker: 'sidecar queue list --state retrying' says for what")
}
