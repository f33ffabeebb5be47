package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/admin"
)

func newDrain() *cobra.Command {
	d := &drainCommand{}
	c := &cobra.Command{
		Use:   "drain",
		Short: "Wait until all that can be sent is confirmed by the broker",
		Long: "Waits until no message of a running sidecar waits for the broker. The sidecar goes on\n" +
			"accepting, and what it accepts meanwhile is waited for, too: stop what publishes first.\n" +
			"Delayed messages, half ones, those on hold and dead letters wait for something else, as does\n" +
			"what is behind them in its ordering key. They are named; with --all they are waited for:\n" +
			"nothing is left in the spool then.\n\n" +
			"What is left is told by topic, with what it waits for. Ends with 4 when something is left\n" +
			"after --timeout, or when it is interrupted. When this command is killed the drain goes on in\n" +
			"the sidecar: 'sidecar operation' lists and stops it.",
		Example: "  sidecar drain --timeout 5m\n  sidecar drain --all   # before its volume is deleted",
		Args:    usageArgs(cobra.NoArgs),
	}
	d.out = newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if d.limit < 0 {
			return fail(exitUsage, "--timeout %s is less than nothing", d.limit)
		}
		return d.use(c, func(s *spooler) error {
			done, raw, err := d.follow(c, s)
			if err != nil {
				return err
			}
			return d.report(c, &done, raw)
		})
	}
	d.registerRunning(c)
	c.Flags().BoolVar(&d.all, "all", false, "wait for all that is held, whatever it waits for")
	c.Flags().DurationVar(&d.limit, "timeout", 0, "wait no longer than so long, as 5m; 0: as long as it takes")
	return c
}

// drainCommand asks a sidecar to drain, and waits for that.
type drainCommand struct {
	operate

	all   bool
	limit time.Duration
	out   *format
}

// drained is a drain as the admin API shows it.
type drained struct {
	ID      string     `json:"id"`
	State   string     `json:"state"`
	Drained bool       `json:"drained"`
	Left    admin.Left `json:"left"`
}

// follow begins it, and shows how much is left until it has ended. An interrupt ends it, and SIGTERM: without
// its command it might wait for ever.
func (d *drainCommand) follow(c *cobra.Command, s *spooler) (drained, json.RawMessage, error) {
	f := following[drained]{
		begin: d.begin,
		what:  "messages wait",
		at: func(_ context.Context, now *drained) counterLine {
			return counterLine{n: int64(waitsFor(&now.Left, d.all))}
		},
		until: []os.Signal{os.Interrupt, unix.SIGTERM},
	}
	return f.follow(c, s)
}

// waitsFor counts what has to go before a drain is done.
func waitsFor(l *admin.Left, all bool) uint64 {
	if all {
		return l.All() // what is ending is half
	}
	return l.Waiting + l.Ending
}

func (d *drainCommand) begin(ctx context.Context, s *spooler) (json.RawMessage, error) {
	order := map[string]any{"all": d.all}
	if d.limit > 0 {
		order["timeout"] = d.limit.String()
	}
	return s.post(ctx, "/v1/drain", order)
}

// report prints what is left.
func (d *drainCommand) report(c *cobra.Command, now *drained, raw json.RawMessage) error {
	l := &now.Left
	err := d.out.print(c.OutOrStdout(), raw, func(w io.Writer) { leftTable(w, l) })
	switch {
	case err != nil || now.Drained:
		return err
	case l.All()+l.Ending == 0:
		return fail(exitPartly, "the spool is not open yet, so it is not known what is left: see 'sidecar await'")
	case l.Waiting+l.Ending == 0:
		return fail(exitPartly, "what is left does not wait for the broker: see 'sidecar queue list' and 'sidecar tx list'")
	}
	return fail(exitPartly, "messages still wait for the broker: 'sidecar queue list --state retrying' says for what")
}

func leftTable(w io.Writer, l *admin.Left) {
	fmt.Fprintln(w, "WAITING\tENDING\tDELAYED\tHALF\tHELD\tDEAD")
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\n", l.Waiting, l.Ending, l.Delayed, l.Half, l.Held, l.Dead)
	if len(l.Topics) > 0 {
		fmt.Fprintln(w, "\nTOPIC\tWAITING\tDELAYED\tHALF\tHELD\tDEAD\tWHY")
	}
	for _, t := range l.Topics {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", t.Topic, t.Waiting, t.Delayed, t.Half, t.Held, t.Dead, printable(t.Why))
	}
	if l.MoreTopics > 0 {
		fmt.Fprintf(w, "and %d topics more\n", l.MoreTopics)
	}
}
