package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newDLQ() *cobra.Command {
	c := &cobra.Command{
		Use:   "dlq",
		Short: "Look at dead letters, send them again, or end them",
		Long: "A dead letter is a message that the broker refused for what it is, or that was not confirmed\n" +
			"within its TTL: it is not attempted again until somebody says so. Works on a running sidecar\n" +
			"by its admin API, or on the directory of one that is stopped.\n\n" +
			"With --group: a message that the handlers of a consumer group gave up. It is at the broker, in\n" +
			"the group's topic of dead letters, and a running sidecar with a subscription of that group is\n" +
			"asked. Its cause is known to the sidecar that gave it up.",
		Example: "  sidecar dlq list --by-cause\n  sidecar dlq redrive --cause MESSAGE_ILLEGAL --dry-run\n  sidecar dlq discard 0A3B...\n  sidecar dlq export dead.ndjson --topic orders\n  sidecar dlq list --group billing --by-cause\n  sidecar dlq redrive --group billing --cause 'rejected: 422'",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newDLQList(), newDLQShow(), newDLQExport(),
		newDLQAct("redrive", "Send dead letters again",
			"They become pending, under the same message IDs, before what waits in their topic. It begins\n"+
				"with a few, waits for what becomes of them, and stops as soon as more than a tenth of those\n"+
				"whose outcome is known are dead letters again. Messages with an ordering key come out of\n"+
				"order. On a directory nothing is forwarded: they are sent, without that, when its sidecar starts.\n"+
				"With --group they go to the group's retry topic, to nobody else, as first attempts; each\n"+
				"is a dead letter no more when the broker has confirmed that."),
		newDLQAct("discard", "End dead letters for good",
			"Their bodies are deleted; the ledger counts them as discarded, and their receipts say so.\nIt cannot be undone: export them first.\n"+
				"With --group the broker keeps them until they are too old, and they are listed no more."))
	return c
}

// letters is which dead letters are meant.
type letters struct {
	ofGroup

	topic, cause, text, key, tag, olderThan string
}

func (l *letters) register(c *cobra.Command) {
	l.ofGroup.register(c)
	choose(c, &l.topic, "topic", "of this topic")
	choose(c, &l.cause, "cause", "of this cause, as 'dlq list --by-cause' shows it")
	choose(c, &l.text, "error", "with this text in their last error; a group's have none")
	choose(c, &l.key, "key", "with this key")
	choose(c, &l.tag, "tag", "with this tag")
	choose(c, &l.olderThan, "older-than", "accepted longer ago than this, as 15m or 2d; of a group: dead for longer")
}

// fields are the filters by the names of the API.
func (l *letters) fields() map[string]any {
	f := map[string]any{}
	for name, value := range map[string]string{
		"topic": l.topic, "cause": l.cause, "error": l.text, "key": l.key, "tag": l.tag, "older_than": l.olderThan,
	} {
		if value != "" {
			f[name] = value
		}
	}
	return f
}

func (l *letters) values() url.Values {
	q := url.Values{}
	for name, value := range l.fields() {
		q.Set(name, fmt.Sprint(value))
	}
	return q
}

func newDLQList() *cobra.Command {
	var o operate
	var l letters
	var limit int
	var byCause bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, or their causes",
		Example: "  sidecar dlq list --by-cause\n  sidecar dlq list --topic orders --cause MESSAGE_ILLEGAL -o jsonl\n  sidecar dlq list --group billing",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		return o.use(c, func(s *spooler) error {
			if err := l.reachable(s); err != nil {
				return err
			}
			q := l.values()
			switch {
			case l.group != "" && byCause:
				return listGroupCauses(c, s, l.path(), q, out)
			case l.group != "":
				return listLetters(c, s, l.path(), q, limit, out)
			case byCause:
				return listCauses(c, s, q, out)
			}
			q.Set("state", "dead")
			return list(c, s, q, limit, out)
		})
	}
	o.register(c)
	l.register(c)
	c.Flags().BoolVar(&byCause, "by-cause", false, "count them by cause, the largest group first")
	c.Flags().IntVar(&limit, "limit", 100, "at most so many; 0: all")
	return c
}

// causeGroup is a group of dead letters as the admin API shows it.
type causeGroup struct {
	Cause      string    `json:"cause"`
	Messages   int       `json:"messages"`
	Bytes      int64     `json:"bytes"`
	Topics     []string  `json:"topics"`
	MoreTopics int       `json:"more_topics"`
	Oldest     time.Time `json:"oldest_accepted_at"`
	Error      string    `json:"last_error"`
	Example    string    `json:"example"`
}

func listCauses(c *cobra.Command, s *spooler, q url.Values, out *format) error {
	q.Set("group_by", "cause")
	var answer struct {
		Items      []json.RawMessage `json:"items"`
		Unreadable int               `json:"unreadable"`
	}
	if _, err := s.read(c.Context(), "/v1/dead-letters?"+q.Encode(), &answer); err != nil {
		return err
	}
	if err := out.each(c.OutOrStdout(), answer.Items, func(w io.Writer) { causeTable(w, answer.Items) }); err != nil {
		return err
	}
	noteUnreadable(c, answer.Unreadable)
	return nil
}

func causeTable(w io.Writer, items []json.RawMessage) {
	if len(items) == 0 {
		fmt.Fprintln(w, "no dead letters")
		return
	}
	fmt.Fprintln(w, "CAUSE\tMESSAGES\tSIZE\tOLDEST\tTOPICS\tEXAMPLE\tLAST ERROR")
	for _, raw := range items {
		var g causeGroup
		if json.Unmarshal(raw, &g) != nil {
			continue
		}
		topics := strings.Join(g.Topics, " ")
		if g.MoreTopics > 0 {
			topics += " and " + strconv.Itoa(g.MoreTopics) + " more"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", printable(g.Cause), g.Messages, size(g.Bytes), age(g.Oldest), topics, g.Example, printable(g.Error))
	}
}

func newDLQExport() *cobra.Command {
	var o operate
	var l letters
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Write dead letters to a file, with all that they carry",
		Long: "As 'sidecar spool export', for dead letters alone. Nothing leaves the spool. Those of a group\n" +
			"are lines of JSON as the admin API has them, with their bodies in base64.",
		Example: "  sidecar dlq export dead.ndjson --cause MESSAGE_ILLEGAL\n  sidecar dlq export dead.ndjson --group billing",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		q := l.values()
		return o.use(c, func(s *spooler) error {
			if err := l.reachable(s); err != nil {
				return err
			}
			if l.group != "" {
				return exportLetters(c, s, &l.ofGroup, q, args[0])
			}
			q.Set("state", "dead")
			return export(c, s, q, args[0])
		})
	}
	o.register(c)
	l.register(c)
	return c
}
