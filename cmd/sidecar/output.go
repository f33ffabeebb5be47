package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/wire"
)

// showOne is the use of commands that show one of many.
const showOne = "show ID"

// newOutput is -o of the commands that print what the admin API answers.
func newOutput(c *cobra.Command) *format {
	f := &format{value: "table", known: []string{"table", "json", "jsonl", "yaml"}}
	c.Flags().VarP(f, "output", "o", "table, json, jsonl or yaml")
	return f
}

// print writes a document as it came, in the form asked for; table writes it for
// people, with columns parted by tabs.
func (f *format) print(w io.Writer, raw json.RawMessage, table func(io.Writer)) error {
	switch f.value {
	case "json":
		var b bytes.Buffer
		if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, b.String())
		return err
	case "jsonl":
		_, err := fmt.Fprintf(w, "%s\n", bytes.TrimSpace(raw))
		return err
	case "yaml":
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = w.Write(text)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(t)
	return t.Flush()
}

// each writes the items of a list: jsonl one a line, all else as one document.
func (f *format) each(w io.Writer, items []json.RawMessage, table func(io.Writer)) error {
	if f.value == "jsonl" {
		for _, item := range items {
			if _, err := fmt.Fprintf(w, "%s\n", item); err != nil {
				return err
			}
		}
		return nil
	}
	if items == nil {
		items = []json.RawMessage{}
	}
	raw, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return f.print(w, raw, table)
}

// listAll prints all that the admin API lists at a path; table writes what T decodes.
func listAll[T any](c *cobra.Command, s *spooler, out *format, path string, table func(io.Writer, []T)) error {
	var page struct {
		Items []json.RawMessage `json:"items"`
	}
	if _, err := s.read(c.Context(), path, &page); err != nil {
		return err
	}
	return printAll(c, out, page.Items, table)
}

// decideOne has the sidecar decide of one thing, by a POST, and prints how that is then:
// in a table as the only row of its list.
func decideOne[T any](c *cobra.Command, s *spooler, out *format, path string, table func(io.Writer, []T)) error {
	raw, err := s.ask(c.Context(), http.MethodPost, path)
	if err != nil {
		return err
	}
	if out.value == "table" {
		return printAll(c, out, []json.RawMessage{raw}, table)
	}
	return out.print(c.OutOrStdout(), raw, nil)
}

func printAll[T any](c *cobra.Command, out *format, items []json.RawMessage, table func(io.Writer, []T)) error {
	all := make([]T, len(items))
	for i, raw := range items {
		if err := decoded(raw, &all[i]); err != nil {
			return err
		}
	}
	return out.each(c.OutOrStdout(), items, func(w io.Writer) { table(w, all) })
}

// size writes bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, at := float64(n)/unit, 0
	for value >= unit && at < 4 {
		value, at = value/unit, at+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[at])
}

// instant writes a time for people as the API does: in UTC, and says so.
func instant(at time.Time) string { return string(wire.Time(at).Append(nil)) }

// lasting writes a duration of the sidecar without the zeros at its end: 24h, not 24h0m0s.
func lasting(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	return config.Duration(d).String()
}

// plural is n with the words for one or for more.
func plural[N int | uint64](n N, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
