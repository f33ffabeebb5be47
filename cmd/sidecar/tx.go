package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/transaction"
)

func newTx() *cobra.Command {
	c := &cobra.Command{
		Use:   "tx",
		Short: "Look at transactions, and decide those that nobody else does",
		Long: "A transaction is half until its application commits it or rolls it back, or answers a\n" +
			"check-back. One whose check-backs were in vain is undecided: it is kept, and nothing of it is\n" +
			"sent, until you decide it. Works on a running sidecar by its admin API, or on the directory\n" +
			"of one that is stopped.",
		Example: "  sidecar tx list --state undecided\n  sidecar tx show order-42\n  sidecar tx commit order-42",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTxList(), newTxShow(),
		newTxDecide("commit", "Commit transactions: their messages are sent", "Find out first that the application did what they tell of: what was sent is not taken back."),
		newTxDecide("rollback", "Roll transactions back: their messages are never sent", "Find out first that the application did not do what they tell of."))
	return c
}

func newTxList() *cobra.Command {
	var o operate
	state := "half,undecided"
	c := &cobra.Command{
		Use:     "list",
		Short:   "List transactions, in the order in which they were prepared",
		Example: "  sidecar tx list\n  sidecar tx list --state undecided -o jsonl",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error { return listTx(c, s, state, out) })
	}
	o.register(c)
	choose(c, &state, "state", "of these states: half, undecided, committed, rolled_back (comma-separated)")
	return c
}

func listTx(c *cobra.Command, s *spooler, state string, out *format) error {
	var items []json.RawMessage
	var views []transaction.View
	q := url.Values{"state": {state}}
	for {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next_cursor"`
		}
		if _, err := s.read(c.Context(), "/v1/transactions?"+q.Encode(), &page); err != nil {
			return err
		}
		for _, raw := range page.Items {
			var v transaction.View
			if err := json.Unmarshal(raw, &v); err != nil {
				return err
			}
			items, views = append(items, raw), append(views, v)
		}
		if page.Next == "" {
			break
		}
		q.Set("cursor", page.Next)
	}
	if len(items) == 0 {
		fmt.Fprintln(c.ErrOrStderr(), "no transactions")
	}
	return out.each(c.OutOrStdout(), items, func(w io.Writer) {
		if len(views) == 0 {
			return
		}
		fmt.Fprintln(w, "ID\tSTATE\tAGE\tMESSAGES\tCHECK-BACKS\tLAST ANSWER")
		for _, v := range views {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d of %d\t%.60s\n", v.ID, v.State, age(v.PreparedAt), len(v.MessageIDs), v.Check.InVain, v.Check.MaxAttempts, v.Check.LastAnswer)
		}
	})
}

func txPath(id string) string { return "/v1/transactions/" + url.PathEscape(id) }

func newTxShow() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     showOne,
		Short:   "Show all that is known of a transaction",
		Example: "  sidecar tx show order-42",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.use(c, func(s *spooler) error {
			var v transaction.View
			answer, err := s.read(c.Context(), txPath(args[0]), &v)
			if err != nil {
				return err
			}
			return out.print(c.OutOrStdout(), answer, func(w io.Writer) { showTx(w, v) })
		})
	}
	o.register(c)
	return c
}

func showTx(w io.Writer, v transaction.View) {
	line := func(name, format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, text)
		}
	}
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.Format(time.RFC3339)
	}
	line("id", "%s", v.ID)
	line("state", "%s", v.State)
	line("mode", "%s", v.Mode)
	line("idempotency key", "%s", v.Key)
	line("prepared", "%s", at(&v.PreparedAt))
	line("since", "%s", at(v.EndedAt))
	line("decided by", "%s", v.DecidedBy)
	line("check", "%s, after %s, every %s, %d times, then %s", v.Check.URL, v.Check.After, v.Check.Interval, v.Check.MaxAttempts, v.Check.OnExhausted)
	line("in vain", "%d", v.Check.InVain)
	line("last answer", "%s", v.Check.LastAnswer)
	line("next check", "%s", at(v.Check.NextAt))
	for _, id := range v.MessageIDs {
		line("message", "%s", id)
	}
}

func newTxDecide(verb, short, long string) *cobra.Command {
	var o operate
	var yes, dryRun bool
	c := &cobra.Command{
		Use:     verb + " ID...",
		Short:   short,
		Long:    short + ".\n" + long + "\n\nSays how many there are and asks. Ends with 4 when it could do only a part.",
		Example: "  sidecar tx " + verb + " order-42",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
	}
	c.RunE = func(c *cobra.Command, ids []string) error {
		if dryRun {
			fmt.Fprintf(c.OutOrStdout(), "would %s %s\n", verb, transactions(len(ids)))
			return nil
		}
		if !yes {
			if ok, err := confirm(c, fmt.Sprintf("%s %s: %s?", verb, transactions(len(ids)), strings.Join(ids, " "))); !ok {
				return err
			}
		}
		return o.use(c, func(s *spooler) error { return decideTx(c, s, verb, ids) })
	}
	o.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say how many, and do nothing")
	return c
}

func transactions(n int) string {
	if n == 1 {
		return "1 transaction"
	}
	return fmt.Sprintf("%d transactions", n)
}

// decideTx decides one after the other; one that is refused stops no other.
func decideTx(c *cobra.Command, s *spooler, verb string, ids []string) error {
	done := 0
	for _, id := range ids {
		if _, err := s.ask(c.Context(), http.MethodPost, txPath(id)+"/"+verb); err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", id, err)
			continue
		}
		done++
		fmt.Fprintln(c.OutOrStdout(), id)
	}
	switch {
	case done == len(ids):
		return nil
	case done == 0:
		return fail(exitFailed, "none of %s could be decided", transactions(len(ids)))
	}
	return fail(exitPartly, "%d of %s decided", done, transactions(len(ids)))
}
