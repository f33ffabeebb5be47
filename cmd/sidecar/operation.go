package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/admin"
)

func newOperation() *cobra.Command {
	c := &cobra.Command{
		Use:   "operation",
		Short: "See and stop long work of a running sidecar: drains, redrives, discards",
		Long: "An operation goes on when the command that began it is killed, or loses the sidecar. A restart\n" +
			"of the sidecar ends it. What it did stays done.",
		Example: "  sidecar operation list\n  sidecar operation stop ID",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newOperationList(), newOperationShow(), newOperationStop())
	return c
}

// listed is an operation of any kind, as the admin API shows it.
type listed struct {
	operation

	Kind     string      `json:"kind"`
	Rate     int         `json:"rate"`
	Began    time.Time   `json:"started_at"`
	Ended    *time.Time  `json:"ended_at"`
	All      bool        `json:"all"`
	Deadline *time.Time  `json:"deadline_at"`
	Left     *admin.Left `json:"left"`
}

// progress says how far it has come.
func (l *listed) progress() string {
	if l.Left == nil {
		return l.summary(l.Kind)
	}
	return fmt.Sprintf("%s left", messages(int(waitsFor(l.Left, l.All))))
}

func newOperationList() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the operations of a running sidecar, the newest last",
		Long:    "Lists what runs, and what has ended: the last 100 operations since the sidecar was started.",
		Example: "  sidecar operation list\n  sidecar operation list -o jsonl",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error { return listAll(c, s, out, "/v1/operations", operationTable) })
	}
	o.registerRunning(c)
	return c
}

func operationTable(w io.Writer, all []listed) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no operations")
		return
	}
	fmt.Fprintln(w, "ID\tKIND\tSTATE\tAGE\tPROGRESS\tWHY")
	for i := range all {
		l := &all[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Kind, l.State, age(l.Began), l.progress(), printable(l.Detail))
	}
}

func operationPath(id string) string { return "/v1/operations/" + url.PathEscape(id) }

func newOperationShow() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     showOne,
		Short:   "Show how far an operation has come",
		Example: "  sidecar operation show ID -o yaml",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.use(c, func(s *spooler) error {
			var l listed
			raw, err := s.read(c.Context(), operationPath(args[0]), &l)
			if err != nil {
				return err
			}
			return out.print(c.OutOrStdout(), raw, func(w io.Writer) { showOperation(w, &l) })
		})
	}
	o.registerRunning(c)
	return c
}

func showOperation(w io.Writer, l *listed) {
	at := func(name string, t *time.Time) {
		if t != nil {
			fmt.Fprintf(w, "%s\t%s\n", name, instant(*t))
		}
	}
	fmt.Fprintf(w, "id\t%s\nkind\t%s\nstate\t%s\n", l.ID, l.Kind, l.State)
	if l.Detail != "" {
		fmt.Fprintf(w, "why\t%s\n", printable(l.Detail))
	}
	at("began", &l.Began)
	at("deadline", l.Deadline)
	at("ended", l.Ended)
	if l.Rate > 0 {
		fmt.Fprintf(w, "rate\t%d a second\n", l.Rate)
	}
	fmt.Fprintf(w, "progress\t%s\n", l.progress())
	if l.Left != nil {
		fmt.Fprintln(w)
		leftTable(w, l.Left)
	}
}

func newOperationStop() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:   "stop ID...",
		Short: "Stop operations, and wait until they have ended",
		Long: "What they did stays done. One that has ended already is left as it is. Ends with 4 when it\n" +
			"could stop only a part.",
		Example: "  sidecar operation stop ID",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, ids []string) error {
		return o.use(c, func(s *spooler) error { return stopOperations(c, s, ids, out) })
	}
	o.registerRunning(c)
	return c
}

// stopOperations stops one after the other; one that is refused stops no other.
func stopOperations(c *cobra.Command, s *spooler, ids []string, out *format) error {
	var stopped []json.RawMessage
	for _, id := range ids {
		raw, err := s.ask(c.Context(), http.MethodPost, operationPath(id)+"/stop")
		switch {
		case err == nil:
			stopped = append(stopped, raw)
		case errors.As(err, &refusal{}):
			fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", printable(id), err)
		case len(stopped) == 0:
			return err
		default: // what has ended is told all the same
			return errors.Join(printAll(c, out, stopped, operationTable), fail(exitPartly, "%d of %d operations have ended: %w", len(stopped), len(ids), err))
		}
	}
	if len(stopped) == 0 {
		return fail(exitFailed, "none of %d operations could be stopped", len(ids))
	}
	if err := printAll(c, out, stopped, operationTable); err != nil || len(stopped) == len(ids) {
		return err
	}
	return fail(exitPartly, "%d of %d operations have ended", len(stopped), len(ids))
}
