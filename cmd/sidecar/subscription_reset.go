package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/internal/duration"
	"github.com/remora-mq/remora/sidecar"
)

// reset is a command that moves a group.
type reset struct {
	operate

	to          string
	yes, dryRun bool
}

func newSubscriptionReset() *cobra.Command {
	var r reset
	c := &cobra.Command{
		Use:   "reset NAME --to TIME",
		Short: "Consume again from a time, or skip to one",
		Long: "Moves the group, in each queue of the topic, to the first message that was stored at TIME or\n" +
			"later (RFC 3339, or as 2h: so long ago). Shows from which offset to which, and how many messages\n" +
			"come again or are skipped, and asks. The subscription's consumer is stopped for it and begins\n" +
			"again. It is refused while the group has a member elsewhere.\n\n" +
			"Messages that were handled within the dedupe window come again and are acked without a call. To\n" +
			"have them handled once more, give the subscription another group, and from.",
		Example: "  sidecar subscription reset billing --to 2026-01-02T03:04:05Z --dry-run\n  sidecar subscription reset billing --to 2h",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, names []string) error { return r.run(c, out, names[0]) }
	r.registerRunning(c)
	choose(c, &r.to, "to", "the time to which the group goes")
	c.Flags().BoolVar(&r.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&r.dryRun, "dry-run", false, "show what would be done, and do nothing")
	return c
}

func (r *reset) run(c *cobra.Command, out *format, name string) error {
	to, err := timeOrAge(r.to)
	if err != nil {
		return err
	}
	return r.use(c, func(s *spooler) error {
		raw, plan, err := s.reset(c, name, to, true)
		if err != nil {
			return err
		}
		if r.dryRun {
			return out.print(c.OutOrStdout(), raw, func(w io.Writer) { resetTable(w, plan) })
		}
		if len(plan.Members) > 0 { // said before anybody is asked
			return fail(exitFailed, "group %s has other members, which would write their own progress over it: stop them first: %s", plan.Group, strings.Join(plan.Members, ", "))
		}
		if !r.yes {
			shown := format{value: "table"}
			if err := shown.print(c.ErrOrStderr(), nil, func(w io.Writer) { resetTable(w, plan) }); err != nil {
				return err
			}
			if ok, err := confirm(c, fmt.Sprintf("reset %s to %s?", name, to.Format(time.RFC3339))); !ok {
				return err
			}
		}
		if raw, plan, err = s.reset(c, name, to, false); err != nil {
			return err
		}
		return out.print(c.OutOrStdout(), raw, func(w io.Writer) { resetTable(w, plan) })
	})
}

// timeOrAge reads a time, or how long ago it was.
func timeOrAge(text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if ago, err := duration.Parse(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago).Truncate(time.Millisecond), nil
	}
	return time.Time{}, fail(exitUsage, "--to %q is neither a time, as 2026-01-02T03:04:05Z, nor how long ago, as 2h or 7d", text)
}

func (s *spooler) reset(c *cobra.Command, name string, to time.Time, dryRun bool) (json.RawMessage, sidecar.Reset, error) {
	var got sidecar.Reset
	body, err := json.Marshal(map[string]any{"to": to.UTC(), "dry_run": dryRun})
	if err != nil {
		return nil, got, err
	}
	r, err := s.do(c.Context(), http.MethodPost, subscriptionPath(name)+"/reset", http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body))
	switch {
	case err != nil:
		return nil, got, fail(exitUnreachable, "cannot reach the sidecar: %w; is it running, and is --url right?", err)
	case r.status != http.StatusOK:
		return nil, got, r.problem()
	}
	return r.body, got, json.Unmarshal(r.body, &got)
}

func resetTable(w io.Writer, r sidecar.Reset) {
	fmt.Fprintln(w, "QUEUE\tFROM\tTO\tREPEATS\tSKIPS")
	for _, q := range r.Queues {
		from := "-"
		if q.From != nil {
			from = strconv.FormatInt(*q.From, 10)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", q.Queue, from, q.To, q.Repeats, q.Skips)
	}
	verb := "was"
	if r.DryRun {
		verb = "would be"
	}
	fmt.Fprintf(w, "group %s of topic %s %s set to %s: %d come again, %d are skipped\n", r.Group, r.Topic, verb, r.To.Format(time.RFC3339), r.Repeats, r.Skips)
	if r.Repeats > 0 && r.Dedupe.Window != "" {
		fmt.Fprintf(w, "those handled within %s (dedupe store %s) are acked without a call\n", r.Dedupe.Window, r.Dedupe.Store)
	}
	if len(r.Members) > 0 {
		fmt.Fprintf(w, "refused while the group has other members: %s\n", strings.Join(r.Members, ", "))
	}
}
