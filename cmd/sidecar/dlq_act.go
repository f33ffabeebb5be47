package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// dlqAct is a command that redrives or discards dead letters.
type dlqAct struct {
	operate
	letters

	verb             string
	all, yes, dryRun bool
	rate             int
	out              *format
}

func newDLQAct(verb, short, long string) *cobra.Command {
	a := &dlqAct{verb: verb}
	c := &cobra.Command{
		Use:   verb + " [ID...]",
		Short: short,
		Long: long + "\n\nNames dead letters by their IDs, by filters, or all of them by --all; says how many there are,\n" +
			"and asks. It shows how far it has come, and what it waits for, until it has ended; an interrupt stops it, and so does\n" +
			"a restart of the sidecar: what was done then stays done. Ends with 4 when it did only a part.",
		Example: fmt.Sprintf("  sidecar dlq %[1]s 0A3B...\n  sidecar dlq %[1]s --cause MESSAGE_ILLEGAL --dry-run\n  sidecar dlq %[1]s --topic orders --rate 200 --yes\n  sidecar dlq %[1]s --group billing --all", verb),
	}
	a.out = newOutput(c)
	c.RunE = func(c *cobra.Command, ids []string) error { return a.run(c, ids) }
	a.operate.register(c)
	a.letters.register(c)
	c.Flags().BoolVar(&a.all, "all", false, "all dead letters")
	c.Flags().IntVar(&a.rate, "rate", 0, "messages a second (default: 50 for redrive, no bound for discard)")
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "say how many, and do nothing")
	return c
}

// operation is long work as the admin API shows it.
type operation struct {
	ID        string         `json:"id"`
	State     string         `json:"state"`
	Detail    string         `json:"detail"`
	Phase     string         `json:"phase"`
	Changed   int            `json:"changed"`
	Refused   int            `json:"refused"`
	Confirmed int            `json:"confirmed"`
	Dead      map[string]int `json:"dead_by_cause"`
	Open      int            `json:"without_outcome"`
	Paused    []string       `json:"paused_topics"`
	Chosen    struct {
		Messages int `json:"messages"`
	} `json:"chosen"`
}

// counted is the answer to a dry run.
type counted struct {
	Messages   int   `json:"messages"`
	Bytes      int64 `json:"bytes"`
	Ordered    int   `json:"with_ordering_key"`
	Unreadable int   `json:"unreadable"`
}

func (a *dlqAct) run(c *cobra.Command, ids []string) error {
	filter := a.fields()
	ways := 0
	for _, used := range []bool{len(ids) > 0, len(filter) > 0, a.all} {
		if used {
			ways++
		}
	}
	if ways != 1 {
		return fail(exitUsage, "name dead letters by their IDs, or by filters as --cause, or all by --all; see '%s --help'", c.CommandPath())
	}
	if len(ids) > 0 {
		filter["ids"] = ids
	}
	if a.all {
		filter["all"] = true
	}
	return a.use(c, func(s *spooler) error {
		if err := a.reachable(s); err != nil {
			return err
		}
		var would counted
		raw, err := a.post(c.Context(), s, filter, true)
		if err == nil {
			err = json.Unmarshal(raw, &would)
		}
		if err != nil {
			return err
		}
		if ok, err := a.agreed(c, would, len(ids)); !ok {
			return err
		}
		return a.follow(c, s, filter)
	})
}

// agreed says what is meant, and asks.
func (a *dlqAct) agreed(c *cobra.Command, would counted, named int) (bool, error) {
	noteUnreadable(c, would.Unreadable)
	if missing := named - would.Messages; missing > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "note: %s named are no dead letters\n", messages(missing))
	}
	if would.Messages == 0 {
		fmt.Fprintln(c.ErrOrStderr(), "no dead letters")
		if named > 0 {
			return false, fail(exitFailed, "none of %s is a dead letter", messages(named))
		}
		return false, nil
	}
	if a.verb == "redrive" && would.Ordered > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "note: %d of them have an ordering key and come out of order: later messages of their key may have been confirmed\n", would.Ordered)
	}
	if a.dryRun {
		fmt.Fprintf(c.OutOrStdout(), "would %s %s, %s\n", a.verb, messages(would.Messages), size(would.Bytes))
		return false, nil
	}
	if a.yes || a.verb == "redrive" && would.Messages == 1 {
		return true, nil
	}
	return confirm(c, fmt.Sprintf("%s %s, %s?", a.verb, messages(would.Messages), size(would.Bytes)))
}

func (a *dlqAct) post(ctx context.Context, s *spooler, filter map[string]any, dry bool) (json.RawMessage, error) {
	return s.post(ctx, a.path()+"/"+a.verb, map[string]any{"filter": filter, "rate": a.rate, "dry_run": dry})
}

// follow begins the operation, and shows it to its end.
func (a *dlqAct) follow(c *cobra.Command, s *spooler, filter map[string]any) error {
	f := a.following(s, filter)
	p, raw, err := f.follow(c, s)
	if err != nil {
		return err
	}
	if err := a.out.print(c.OutOrStdout(), raw, func(w io.Writer) { fmt.Fprintln(w, p.summary(a.verb)) }); err != nil {
		return err
	}
	if a.verb == "redrive" && s.offline != nil {
		fmt.Fprintln(c.ErrOrStderr(), "note: they are sent when the sidecar of this directory starts")
	}
	return a.verdict(&p)
}

func (a *dlqAct) following(s *spooler, filter map[string]any) following[operation] {
	broker := &waiting{s: s}
	return following[operation]{
		begin: func(ctx context.Context, s *spooler) (json.RawMessage, error) { return a.post(ctx, s, filter, false) },
		what:  "messages: " + a.verb,
		at: func(ctx context.Context, now *operation) counterLine {
			return counterLine{n: int64(now.Changed), at: broker.tell(ctx, now), waits: now.stuckBy()}
		},
		until: []os.Signal{os.Interrupt},
	}
}

// summary says how much it did, of its kind.
func (p *operation) summary(kind string) string {
	done := map[string]string{"redrive": "redriven", "discard": "discarded"}[kind]
	line := fmt.Sprintf("%s %d of %s", done, p.Changed, messages(p.Chosen.Messages))
	var more []string
	add := func(n int, what string) {
		if n > 0 {
			more = append(more, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(p.Confirmed, "confirmed")
	for cause, n := range p.Dead {
		add(n, "dead again ("+printable(cause)+")")
	}
	if why := p.waitsFor(); why != "" {
		add(p.Open, "without an outcome yet, "+why)
	} else {
		add(p.Open, "without an outcome yet")
	}
	add(p.Refused, "refused")
	if len(more) == 0 {
		return line
	}
	return line + ": " + strings.Join(more, ", ")
}

// waitsFor says for which paused topics some of it waits; "": for none.
func (p *operation) waitsFor() string {
	const most = 3
	topics := p.Paused
	if len(topics) == 0 {
		return ""
	}
	named := topics[:min(len(topics), most)]
	line := "as topics are paused: " + strings.Join(named, ", ")
	if more := len(topics) - len(named); more > 0 {
		line += fmt.Sprintf(" and %d more", more)
	}
	return line + "; see 'sidecar topic resume'"
}

// verdict is the command's end.
func (a *dlqAct) verdict(p *operation) error {
	died := 0
	for _, n := range p.Dead {
		died += n
	}
	switch {
	case p.State == "done" && p.Refused == 0 && died == 0:
		return nil
	case p.Changed-died <= 0:
		return fail(exitFailed, "%s %s: %s", a.verb, p.State, p.Detail)
	case p.State == "done":
		return fail(exitPartly, "%d are refused or dead letters again", p.Refused+died)
	}
	return fail(exitPartly, "%s %s: %s", a.verb, p.State, p.Detail)
}
