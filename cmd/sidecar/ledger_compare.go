package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// compareFlags say what is compared.
type compareFlags struct {
	on                 bool
	group, topic       string
	producers, members []string
	wait               time.Duration
}

func (f *compareFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&f.on, "compare", false, "compare what producers sent with what the members of a group have handled")
	choose(c, &f.group, "group", "with --compare: the group, which must not filter")
	choose(c, &f.topic, "topic", "with --compare: the topic")
	c.Flags().StringSliceVar(&f.producers, "producer", nil, "with --compare: admin listener of a sidecar that sends to the topic; again for each (default: the one at --url)")
	c.Flags().StringSliceVar(&f.members, "member", nil, "with --compare: admin listener of a sidecar of the group; again for each (default: the one at --url)")
	c.Flags().DurationVar(&f.wait, "wait", 0, "with --compare: look again for so long, while something is on its way")
}

// check reports flags that do not fit.
func (f *compareFlags) check(o *operate) error {
	others := f.group != "" || f.topic != "" || len(f.producers)+len(f.members) > 0 || f.wait != 0
	switch {
	case !f.on && others:
		return fail(exitUsage, "--group, --topic, --producer, --member and --wait are of --compare")
	case f.on && (f.group == "" || f.topic == ""):
		return fail(exitUsage, "name what is compared: --compare --group GROUP --topic TOPIC --producer URL --member URL")
	case f.on && o.names():
		return fail(exitUsage, "--compare asks running sidecars: name them by --producer and --member, not a directory")
	}
	return nil
}

func (f *compareFlags) run(c *cobra.Command, o *operate, out *format) error {
	cmp := &comparison{group: f.group, topic: f.topic}
	var err error
	if cmp.producers, err = f.open(o, f.producers); err != nil {
		return err
	}
	if cmp.members, err = f.open(o, f.members); err != nil {
		return err
	}
	if err := f.look(c, cmp); err != nil {
		return err
	}
	raw, err := cmp.json()
	if err != nil {
		return err
	}
	if err := out.print(c.OutOrStdout(), raw, func(w io.Writer) { comparedTable(w, &cmp.out) }); err != nil {
		return err
	}
	return comparedVerdict(c.ErrOrStderr(), &cmp.out)
}

func (f *compareFlags) open(o *operate, urls []string) (all []*spooler, err error) {
	if len(urls) == 0 {
		urls = []string{o.address("")}
	}
	for _, u := range urls {
		s, err := o.running(u)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// look compares until all is complete, or the time is over: what is on its way is
// handled meanwhile. What is not due by then is not waited for.
func (f *compareFlags) look(c *cobra.Command, cmp *comparison) error {
	until := time.Now().Add(f.wait)
	for {
		counting := newCounter(c.ErrOrStderr(), "comparing numbers")
		cmp.progress = counting.add
		err := cmp.run(c.Context())
		if counting.end(); err != nil || cmp.out.settledUntil(until) || time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(min(time.Second, time.Until(until)+time.Millisecond)):
		case <-c.Context().Done():
			return c.Context().Err()
		}
	}
}

// settledUntil reports whether no look until then can find all handled, because of timers
// alone: what else is open may be only on its way.
func (r *compared) settledUntil(then time.Time) bool {
	if r.Complete {
		return true
	}
	open, due := uint64(0), time.Time{}
	for _, o := range r.Origins {
		open += o.Waiting + o.Missing + o.Maybe
		if o.due.After(due) {
			due = o.due
		}
	}
	return open == 0 && due.After(then)
}

func comparedTable(w io.Writer, r *compared) {
	fmt.Fprintln(w, "ORIGIN\tPRODUCER\tNUMBERS\tHANDLED\tDEAD\tENDED OTHERWISE\tWAITING\tNOT DUE\tMISSING\tMAYBE HANDLED")
	for _, o := range r.Origins {
		fmt.Fprintf(w, "%s\t%s\t%d-%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", o.Origin, o.Producer, o.From, o.Last, o.Handled, o.Dead, o.Exceptions, o.Waiting, o.NotDue, o.Missing, o.Maybe)
	}
	fmt.Fprintln(w, "\nMEMBER\tNOTES SINCE\tUNSURE UNTIL\tREPEATS")
	for _, m := range r.Members {
		unsure := "-"
		if m.UnsureAt != nil {
			unsure = m.UnsureAt.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\n", m.URL, m.Since.Format(time.RFC3339), unsure, m.Repeats)
	}
	if len(r.Missing) > 0 {
		fmt.Fprintln(w, "\nMISSING\tORIGIN\tNUMBER\tCONFIRMED\tVERDICT\tWHY")
	}
	for _, m := range r.Missing {
		id, at := m.ID, "-"
		if id == "" {
			id = "(receipt not kept)"
		}
		if m.ConfirmedAt != nil {
			at = m.ConfirmedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", id, m.Origin, m.TopicSeq, at, m.Verdict, m.Why)
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %d more\n", r.More)
	}
}

// comparedVerdict is the end of the command.
func comparedVerdict(w io.Writer, r *compared) error {
	var missing, maybe, waiting, notDue uint64
	for _, o := range r.Origins {
		missing, maybe, waiting, notDue = missing+o.Missing, maybe+o.Maybe, waiting+o.Waiting, notDue+o.NotDue
		if o.NotDue > 0 {
			fmt.Fprintf(w, "note: of origin %s the broker's timer has %s, the last one until %s\n",
				o.Origin, plural(o.NotDue, "message that is not due", "messages that are not due"), o.due.Format(time.RFC3339))
		}
		if o.Lost > 0 {
			fmt.Fprintf(w, "note: %s lost %s, which may be among the missing: see its ledger\n",
				o.Producer, plural(o.Lost, "message with its number", "messages with their numbers"))
		}
		if o.From > 1 {
			fmt.Fprintf(w, "note: of origin %s numbers below %d are not compared: a member keeps no notes of them any more\n", o.Origin, o.From)
		}
	}
	for _, origin := range r.Foreign {
		fmt.Fprintf(w, "note: origin %s is not compared: no producer that was named has given its numbers\n", origin)
	}
	switch {
	case missing > 0:
		return fail(exitFailed, "messages that were sent and no member has handled: %d; %d more may be handled; when all members were named, send them again: sidecar queue resend --id ID at their producer", missing, maybe)
	case maybe > 0:
		return fail(exitFailed, "%s; repeat with: sidecar queue resend --id ID at the producer",
			plural(maybe, "message is not seen: it may have been handled, as WHY says", "messages are not seen: they may have been handled, as WHY says"))
	case waiting > 0:
		return fail(exitPartly, "%s: not confirmed by the broker, or not before this comparison began; all others were handled: compare again, or with --wait",
			plural(waiting, "message is on its way", "messages are on their way"))
	case notDue > 0:
		return fail(exitPartly, "%s: the broker's timer has them; all others were handled: compare again later",
			plural(notDue, "message is not due", "messages are not due"))
	}
	fmt.Fprintln(w, "complete: every message that was sent is handled, or a dead letter of the group")
	return nil
}
