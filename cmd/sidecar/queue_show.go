package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// story is a message as the admin API shows it.
type story struct {
	item

	ContentType string     `json:"content_type"`
	Properties  []property `json:"properties"`
	BodySize    int64      `json:"body_size"`
	Body        []byte     `json:"body_base64"`
	SettledAt   time.Time  `json:"settled_at"`
	Broker      *struct {
		OffsetMessageID string `json:"offset_message_id"`
		Queue           string `json:"queue"`
		Offset          int64  `json:"offset"`
	} `json:"broker"`
	History []struct {
		At      time.Time `json:"at"`
		Event   string    `json:"event"`
		Outcome string    `json:"outcome"`
		Detail  string    `json:"detail"`
	} `json:"history"`
}

func newQueueShow() *cobra.Command {
	var o operate
	var body, raw bool
	c := &cobra.Command{
		Use:     showOne,
		Short:   "Show all that is known of a message",
		Example: "  sidecar queue show 0A3B... --body\n  sidecar queue show 0A3B... --raw > body",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.use(c, func(s *spooler) error { return show(c, s, args[0], body, raw, out) })
	}
	o.register(c)
	c.Flags().BoolVar(&body, "body", false, "show the body, too")
	c.Flags().BoolVar(&raw, "raw", false, "write the body alone, byte for byte")
	return c
}

func show(c *cobra.Command, s *spooler, id string, body, raw bool, out *format) error {
	path := messagePath(id)
	if body || raw {
		path += "?body=true"
	}
	var m story
	answer, err := s.read(c.Context(), path, &m)
	if err != nil {
		return err
	}
	if raw {
		if m.BodySize == 0 {
			return fail(exitFailed, "the body of %s is not held any more: the message is %s", id, m.State)
		}
		_, err := c.OutOrStdout().Write(m.Body)
		return err
	}
	return out.print(c.OutOrStdout(), answer, func(w io.Writer) { m.table(w) })
}

// rows writes a line of a table for each name that has a value.
type rows func(name, value string)

func rowsOf(w io.Writer) rows {
	return func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, printable(value))
		}
	}
}

// attributes are what was published beside the body.
func (row rows) attributes(tag string, keys []string, orderingKey, contentType string, properties []property) {
	row("tag", tag)
	for _, key := range keys {
		row("key", key)
	}
	row("ordering key", orderingKey)
	row("content type", contentType)
	for _, p := range properties {
		row("property", p.Name+"="+p.Value)
	}
}

func (m *story) table(w io.Writer) {
	row := rowsOf(w)
	row("id", m.ID)
	row("topic", m.Topic)
	row("state", m.status())
	row("accepted", instant(m.AcceptedAt))
	row.attributes(m.Tag, m.Keys, m.OrderingKey, m.ContentType, m.Properties)
	if m.BodySize > 0 {
		row("body", size(m.BodySize))
	}
	if m.Body != nil {
		text, _ := json.Marshal(string(m.Body)) //nolint:errchkjson // a string
		row("", "")
		row("content", string(text))
	}
	row("attempts", strconv.Itoa(m.Attempts))
	row("reason", m.Reason)
	row("last error", m.LastError)
	if !m.DeliverAt.IsZero() {
		row("deliver at", instant(m.DeliverAt))
	}
	if !m.NextAttemptAt.IsZero() {
		row("next attempt", instant(m.NextAttemptAt))
	}
	if m.MaybeSent {
		row("maybe sent", "an attempt may have reached the broker")
	}
	if b := m.Broker; b != nil {
		row("at the broker", fmt.Sprintf("%s offset %d, %s", b.Queue, b.Offset, b.OffsetMessageID))
	}
	for _, e := range m.History {
		row(instant(e.At), joinWords(e.Event, e.Outcome, e.Detail))
	}
}

func joinWords(words ...string) (line string) {
	for _, w := range words {
		if w != "" && line != "" {
			line += " "
		}
		line += w
	}
	return line
}
