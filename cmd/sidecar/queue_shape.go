package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// ages are the columns of a shape: younger than so much, and the rest.
var ages = []time.Duration{
	time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

var ageNames = []string{"1m", "5m", "15m", "1h", "4h", "1d", "7d", "7d+"}

// shape counts messages by topic and age.
type shape struct {
	Topic    string         `json:"topic"`
	Messages int            `json:"messages"`
	Paused   bool           `json:"paused,omitempty"` // by an operator
	Ages     map[string]int `json:"ages"`             // younger than the name says, and not than the one before
}

func newQueueShape() *cobra.Command {
	var o operate
	var f filter
	c := &cobra.Command{
		Use:     "shape",
		Short:   "Count the messages that are held by topic and age",
		Long:    "Each column counts what is younger than its name says, and not younger than the one\nbefore. A topic that is stuck grows to the right. It reads every message, page by page.",
		Example: "  sidecar queue shape --state pending,retrying",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error { return shapeOf(c, s, &f, out) })
	}
	o.register(c)
	f.register(c)
	return c
}

func shapeOf(c *cobra.Command, s *spooler, f *filter, out *format) error {
	byTopic, now := map[string]*shape{}, time.Now()
	seen := newCounter(c.ErrOrStderr(), "messages")
	unreadable, err := s.walk(c, f.values(), func(raw json.RawMessage) error {
		var i item
		if err := json.Unmarshal(raw, &i); err != nil {
			return err
		}
		seen.add(1)
		for _, topic := range []string{i.Topic, "TOTAL"} {
			if byTopic[topic] == nil {
				byTopic[topic] = &shape{Topic: topic, Ages: map[string]int{}}
			}
			byTopic[topic].Messages++
			byTopic[topic].Paused = byTopic[topic].Paused || i.TopicPaused && topic == i.Topic
			byTopic[topic].Ages[column(now.Sub(i.AcceptedAt))]++
		}
		return nil
	})
	if seen.end(); err != nil {
		return err
	}
	noteUnreadable(c, unreadable)
	rows := slices.SortedFunc(maps.Values(byTopic), func(a, b *shape) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(b.Topic, a.Topic)*-1)
	})
	slices.SortStableFunc(rows, func(a, b *shape) int { return cmp.Compare(totalFirst(a), totalFirst(b)) })
	var items []json.RawMessage
	for _, r := range rows {
		raw, err := json.Marshal(r)
		if err != nil {
			return err
		}
		items = append(items, raw)
	}
	return out.each(c.OutOrStdout(), items, func(w io.Writer) { shapeTable(w, rows) })
}

func totalFirst(s *shape) int {
	if s.Topic == "TOTAL" {
		return 0
	}
	return 1
}

func column(age time.Duration) string {
	at, found := slices.BinarySearch(ages, age)
	if found {
		at++
	}
	return ageNames[at]
}

func shapeTable(w io.Writer, rows []*shape) {
	if len(rows) == 0 {
		fmt.Fprintln(w, "no messages")
		return
	}
	fmt.Fprint(w, "TOPIC\tT")
	for _, name := range ageNames {
		fmt.Fprint(w, "\t", name)
	}
	for _, r := range rows {
		name := r.Topic
		if r.Paused {
			name += " (paused)"
		}
		fmt.Fprintf(w, "\n%s\t%d", name, r.Messages)
		for _, name := range ageNames {
			fmt.Fprint(w, "\t", r.Ages[name])
		}
	}
	fmt.Fprintln(w)
}
