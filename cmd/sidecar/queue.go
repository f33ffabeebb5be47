package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newQueue() *cobra.Command {
	c := &cobra.Command{
		Use:     "queue",
		Short:   "Look at the messages that a spool holds, and act on them",
		Long:    "Works on a running sidecar by its admin API, or on the directory of one that is stopped.",
		Example: "  sidecar queue list --state retrying --topic orders\n  sidecar queue shape\n  sidecar queue hold 0A3B...\n  sidecar queue list --dir /var/lib/remora",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newQueueList(), newQueueShow(), newQueueShape(),
		newQueueAct("hold", "Keep messages from being forwarded until they are released",
			"A hold is on disk before it is answered, and outlasts restarts. Later messages of the\nsame ordering key wait with it; cancel it to let them pass. A delayed message does not fall\ndue while it is on hold, and nothing waits for it."),
		newQueueAct("release", "Let messages on hold be forwarded again", "They take their place in the order of their topic; those that are delayed, when they are due."),
		newQueueAct("retry", "Attempt messages that wait for their next attempt now", "Their backoff ends; the broker's does not."),
		newQueueAct("cancel", "End messages before they are sent",
			"Granted only where no attempt can have reached the broker. It cannot be undone."),
		newQueueResend())
	return c
}

// item is a message as the admin API lists it.
type item struct {
	ID            string    `json:"id"`
	Topic         string    `json:"topic"`
	State         string    `json:"state"`
	Held          bool      `json:"held"`
	AcceptedAt    time.Time `json:"accepted_at"`
	DeliverAt     time.Time `json:"deliver_at"`
	Size          int64     `json:"size"`
	Tag           string    `json:"tag"`
	Keys          []string  `json:"keys"`
	OrderingKey   string    `json:"ordering_key"`
	Attempts      int       `json:"attempts"`
	LastError     string    `json:"last_error"`
	NextAttemptAt time.Time `json:"next_attempt_at"`
	MaybeSent     bool      `json:"maybe_sent"`
	Reason        string    `json:"reason"`
	BlockedBy     string    `json:"blocked_by"`
	TopicPaused   bool      `json:"topic_paused"`
}

func (i *item) status() string {
	if i.Held {
		return "held"
	}
	return i.State
}

// why is what an operator wants to know of a message that does not get on.
func (i *item) why() string {
	if i.TopicPaused {
		return "its topic is paused"
	}
	if i.BlockedBy != "" {
		return "waits for the dead letter " + i.BlockedBy + " of its ordering key"
	}
	if i.Reason != "" && i.LastError != "" {
		return i.Reason + ": " + i.LastError
	}
	return i.Reason + i.LastError
}

// filter is which messages are meant.
type filter struct{ state, topic, key, tag, text, olderThan string }

func (f *filter) register(c *cobra.Command) {
	choose(c, &f.state, "state", "of these states: half, delayed, pending, in_flight, retrying, dead; confirmed, cancelled, rolled_back, discarded, lost; or held (comma-separated)")
	choose(c, &f.topic, "topic", "of this topic")
	choose(c, &f.key, "key", "with this key")
	choose(c, &f.tag, "tag", "with this tag")
	choose(c, &f.text, "error", "with this text in their last error")
	choose(c, &f.olderThan, "older-than", "accepted longer ago than this, as 15m or 2d")
}

func (f *filter) values() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"state": f.state, "topic": f.topic, "key": f.key, "tag": f.tag, "error": f.text, "older_than": f.olderThan,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// errEnough ends a walk over the pages.
var errEnough = fmt.Errorf("enough")

// walk visits every message that is asked for, page by page; unreadable counts
// what was passed over because it is damaged.
func (s *spooler) walk(c *cobra.Command, q url.Values, visit func(raw json.RawMessage) error) (unreadable int, err error) {
	if !q.Has("limit") {
		q.Set("limit", "1000")
	}
	for {
		var page struct {
			Items      []json.RawMessage `json:"items"`
			Next       string            `json:"next_cursor"`
			Unreadable int               `json:"unreadable"`
		}
		if _, err := s.read(c.Context(), "/v1/messages?"+q.Encode(), &page); err != nil {
			return unreadable, err
		}
		unreadable += page.Unreadable
		for _, raw := range page.Items {
			if err := visit(raw); err != nil {
				return unreadable, err
			}
		}
		if page.Next == "" {
			return unreadable, nil
		}
		q.Set("cursor", page.Next)
	}
}

// noteUnreadable says on stderr that a list is not all there is.
func noteUnreadable(c *cobra.Command, n int) {
	if n > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "note: %d places cannot be read, and what they hold is not listed; see: sidecar ledger\n", n)
	}
}

func newQueueList() *cobra.Command {
	var o operate
	var f filter
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List messages that are held, oldest first, dead letters last",
		Example: "  sidecar queue list --state retrying,dead --older-than 15m\n  sidecar queue list --topic orders --limit 0 -o jsonl",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		return o.use(c, func(s *spooler) error { return list(c, s, f.values(), limit, out) })
	}
	o.register(c)
	f.register(c)
	c.Flags().IntVar(&limit, "limit", 100, "at most so many; 0: all")
	return c
}

// checkLimit refuses a --limit that says nothing.
func checkLimit(limit int) error {
	if limit < 0 {
		return fail(exitUsage, "--limit %d is less than 0; 0 lists all", limit)
	}
	return nil
}

// firstOf collects up to limit of what walk visits, 0: all of it, and tells whether
// there are more.
func firstOf(limit int, walk func(visit func(json.RawMessage) error) error) (items []json.RawMessage, more bool, err error) {
	err = walk(func(raw json.RawMessage) error {
		if limit > 0 && len(items) == limit {
			return errEnough
		}
		items = append(items, raw)
		return nil
	})
	if errors.Is(err, errEnough) {
		return items, true, nil
	}
	return items, false, err
}

func list(c *cobra.Command, s *spooler, q url.Values, limit int, out *format) error {
	unreadable := 0
	items, more, err := firstOf(limit, func(visit func(json.RawMessage) error) (err error) {
		unreadable, err = s.walk(c, q, visit)
		return err
	})
	if err != nil {
		return err
	}
	if err := out.each(c.OutOrStdout(), items, func(w io.Writer) { listTable(w, items) }); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(c.ErrOrStderr(), "note: the first %d; --limit 0 lists all\n", limit)
	}
	noteUnreadable(c, unreadable)
	return nil
}

func listTable(w io.Writer, items []json.RawMessage) {
	if len(items) == 0 {
		fmt.Fprintln(w, "no messages")
		return
	}
	fmt.Fprintln(w, "ID\tSTATE\tAGE\tATTEMPTS\tSIZE\tTOPIC\tKEYS\tERROR")
	for _, raw := range items {
		var i item
		if json.Unmarshal(raw, &i) == nil {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", i.ID, i.status(), age(i.AcceptedAt), i.Attempts, size(i.Size), i.Topic,
				printable(strings.Join(i.Keys, " ")), printable(i.why()))
		}
	}
}

// age is how long ago something was, in the largest unit that tells enough.
func age(at time.Time) string {
	d := max(time.Since(at), 0)
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d >= time.Hour:
		return d.Truncate(time.Minute).String()[:len(d.Truncate(time.Minute).String())-2]
	}
	return d.Truncate(time.Second).String()
}

// printable keeps a terminal from being told what to do.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
