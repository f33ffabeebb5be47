package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// ofGroup says that the dead letters of a consumer group are meant, which are at the
// broker, instead of those of the spool.
type ofGroup struct{ group string }

func (g *ofGroup) register(c *cobra.Command) {
	choose(c, &g.group, "group", "the dead letters of this consumer group, at the broker, instead of the spool's")
}

// path is where the admin API has them.
func (g *ofGroup) path() string {
	if g.group == "" {
		return "/v1/dead-letters"
	}
	return "/v1/groups/" + url.PathEscape(g.group) + "/dead-letters"
}

// reachable wants a sidecar that runs where the broker has to be asked.
func (g *ofGroup) reachable(s *spooler) error {
	if g.group != "" && s.offline != nil {
		return fail(exitUsage, "no sidecar runs on this directory, and the dead letters of a group are at the broker: start it, or name one that runs by --url")
	}
	return nil
}

// letter is a dead letter of a group as the admin API shows it.
type letter struct {
	ID              string    `json:"id"`
	Topic           string    `json:"topic"`
	Cause           string    `json:"cause"`
	Attempts        int       `json:"attempts"`
	DiedAt          time.Time `json:"died_at"`
	BornAt          time.Time `json:"born_at"`
	Size            int64     `json:"size"`
	Tag             string    `json:"tag"`
	Keys            []string  `json:"keys"`
	OrderingKey     string    `json:"ordering_key"`
	Queue           string    `json:"queue"`
	Offset          int64     `json:"offset"`
	BrokerMessageID string    `json:"broker_message_id"`
	Damage          string    `json:"damage"`

	ContentType string     `json:"content_type"`
	Properties  []property `json:"properties"`
	BodySize    int64      `json:"body_size"`
	Body        []byte     `json:"body_base64"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// eachLetter visits the dead letters of a group, page by page.
func (s *spooler) eachLetter(c *cobra.Command, path string, q url.Values, visit func(raw json.RawMessage) error) error {
	for {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  string            `json:"next_cursor"`
		}
		if _, err := s.read(c.Context(), path+"?"+q.Encode(), &page); err != nil {
			return err
		}
		for _, raw := range page.Items {
			if err := visit(raw); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		q.Set("cursor", page.Next)
	}
}

func listLetters(c *cobra.Command, s *spooler, path string, q url.Values, limit int, out *format) error {
	if limit > 0 && limit < 1000 {
		q.Set("limit", strconv.Itoa(limit+1)) // one more tells that there are more
	}
	items, more, err := firstOf(limit, func(visit func(json.RawMessage) error) error { return s.eachLetter(c, path, q, visit) })
	if err != nil {
		return err
	}
	if err := out.each(c.OutOrStdout(), items, func(w io.Writer) { letterTable(w, items) }); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(c.ErrOrStderr(), "note: there are more than %d; see --limit, or --by-cause\n", limit)
	}
	return nil
}

func letterTable(w io.Writer, items []json.RawMessage) {
	if len(items) == 0 {
		fmt.Fprintln(w, "no dead letters")
		return
	}
	fmt.Fprintln(w, "ID\tTOPIC\tDEAD FOR\tSIZE\tATTEMPTS\tCAUSE")
	for _, raw := range items {
		var l letter
		if json.Unmarshal(raw, &l) == nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", printable(l.ID), printable(l.Topic), age(l.DiedAt), size(l.Size), l.Attempts, printable(l.Cause))
		}
	}
}

// groupCause is a group of them by their cause.
type groupCause struct {
	Cause      string    `json:"cause"`
	Messages   int       `json:"messages"`
	Bytes      int64     `json:"bytes"`
	Topics     []string  `json:"topics"`
	MoreTopics int       `json:"more_topics"`
	Oldest     time.Time `json:"oldest_died_at"`
	Newest     time.Time `json:"newest_died_at"`
	Example    string    `json:"example"`
}

func listGroupCauses(c *cobra.Command, s *spooler, path string, q url.Values, out *format) error {
	q.Set("group_by", "cause")
	var answer struct {
		Items []json.RawMessage `json:"items"`
	}
	if _, err := s.read(c.Context(), path+"?"+q.Encode(), &answer); err != nil {
		return err
	}
	return out.each(c.OutOrStdout(), answer.Items, func(w io.Writer) { groupCauseTable(w, answer.Items) })
}

func groupCauseTable(w io.Writer, items []json.RawMessage) {
	if len(items) == 0 {
		fmt.Fprintln(w, "no dead letters")
		return
	}
	fmt.Fprintln(w, "CAUSE\tMESSAGES\tSIZE\tOLDEST\tNEWEST\tTOPICS\tEXAMPLE")
	for _, raw := range items {
		var g groupCause
		if json.Unmarshal(raw, &g) != nil {
			continue
		}
		topics := strings.Join(g.Topics, " ")
		if g.MoreTopics > 0 {
			topics += " and " + strconv.Itoa(g.MoreTopics) + " more"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", printable(g.Cause), g.Messages, size(g.Bytes), age(g.Oldest), age(g.Newest), printable(topics), printable(g.Example))
	}
}

func newDLQShow() *cobra.Command {
	var o operate
	var g ofGroup
	var body, raw bool
	c := &cobra.Command{
		Use:     showOne,
		Short:   "Show all that is known of a dead letter",
		Example: "  sidecar dlq show 0A3B... --body\n  sidecar dlq show 0A3B... --group billing --raw > body",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.use(c, func(s *spooler) error {
			if g.group == "" {
				return show(c, s, args[0], body, raw, out)
			}
			if err := g.reachable(s); err != nil {
				return err
			}
			return showLetter(c, s, g.path()+"/"+url.PathEscape(args[0]), body, raw, out)
		})
	}
	o.register(c)
	g.register(c)
	c.Flags().BoolVar(&body, "body", false, "show the body, too")
	c.Flags().BoolVar(&raw, "raw", false, "write the body alone, byte for byte")
	return c
}

func showLetter(c *cobra.Command, s *spooler, path string, body, raw bool, out *format) error {
	if body || raw {
		path += "?body=true"
	}
	var l letter
	answer, err := s.read(c.Context(), path, &l)
	switch {
	case err != nil:
		return err
	case raw:
		_, err := c.OutOrStdout().Write(l.Body)
		return err
	}
	return out.print(c.OutOrStdout(), answer, func(w io.Writer) { l.table(w) })
}

func (l *letter) table(w io.Writer) {
	row := rowsOf(w)
	row("id", l.ID)
	row("topic", l.Topic)
	row("cause", l.Cause)
	row("attempts", strconv.Itoa(l.Attempts))
	row("died", instant(l.DiedAt))
	row("born", instant(l.BornAt))
	row.attributes(l.Tag, l.Keys, l.OrderingKey, l.ContentType, l.Properties)
	row("body", size(l.BodySize))
	row("damage", l.Damage)
	row("at the broker", fmt.Sprintf("%s offset %d, %s", l.Queue, l.Offset, l.BrokerMessageID))
	if l.Body != nil {
		text, _ := json.Marshal(string(l.Body)) //nolint:errchkjson // a string
		row("content", string(text))
	}
}

// exportLetters writes them to a file, a line of JSON each, which appears when it is
// whole and on disk.
func exportLetters(c *cobra.Command, s *spooler, g *ofGroup, q url.Values, path string) error {
	n := 0
	err := writeWhole(path, func(temp *os.File) (err error) {
		n, err = writeLetters(c, s, g, q, temp)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s in %s\n", messages(n), path)
	return nil
}

func writeLetters(c *cobra.Command, s *spooler, g *ofGroup, q url.Values, to io.Writer) (n int, err error) {
	lines := bufio.NewWriter(to)
	shown := newCounter(c.ErrOrStderr(), "messages: export")
	q.Set("body", "true")
	err = s.eachLetter(c, g.path(), q, func(raw json.RawMessage) error {
		n++
		shown.set(int64(n))
		_, err := fmt.Fprintf(lines, "%s\n", raw)
		return err
	})
	if shown.end(); err != nil {
		return n, err
	}
	if err := lines.Flush(); err != nil {
		return n, fmt.Errorf("export: %w", err)
	}
	return n, nil
}
