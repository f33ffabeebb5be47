package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/internal/duration"
)

// resend is the command that has confirmed messages sent again.
type resend struct {
	operate

	topic, since, until string
	ids                 []string
	yes, dryRun         bool
}

func newQueueResend() *cobra.Command {
	a := &resend{}
	c := &cobra.Command{
		Use:   "resend",
		Short: "Send confirmed messages again that the broker has lost",
		Long: "Chooses among the messages that are still kept (spool.retain), and sends them again under\n" +
			"the same message IDs: what the broker did not lose is a repeat, which a consumer's dedupe\n" +
			"recognises. The order is on disk before it is answered. Says how many there are and asks.\n\n" +
			"--since and --until tell when a message was confirmed, as RFC 3339 or as an age.",
		Example: "  sidecar queue resend --since 5m --dry-run\n  sidecar queue resend --topic orders --since 2026-01-02T03:04:05Z\n  sidecar queue resend --id 0A3B...",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return a.run(c) },
	}
	a.register(c)
	choose(c, &a.topic, "topic", "of this topic")
	choose(c, &a.since, "since", "confirmed at this time or later: a time, or an age as 10m")
	choose(c, &a.until, "until", "confirmed at this time or earlier")
	c.Flags().StringSliceVar(&a.ids, "id", nil, "these messages (repeat, or comma-separated)")
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "say how many, and do nothing")
	return c
}

// resendAnswer is the admin API's.
type resendAnswer struct {
	Messages int      `json:"messages"`
	Bytes    int64    `json:"bytes"`
	Already  int      `json:"already_ordered"`
	Missing  []string `json:"missing"`
}

func (a *resend) run(c *cobra.Command) error {
	if err := a.checkIDs(c); err != nil {
		return err
	}
	filter, err := a.filter()
	if err != nil {
		return err
	}
	return a.use(c, func(s *spooler) error {
		would, err := askResend(c.Context(), s, filter, true)
		if err != nil {
			return err
		}
		for _, id := range would.Missing {
			fmt.Fprintf(c.ErrOrStderr(), "%s: not confirmed, or no longer kept\n", id)
		}
		if would.Already > 0 {
			fmt.Fprintf(c.ErrOrStderr(), "note: %s were ordered before and are on their way\n", messages(would.Already))
		}
		if would.Messages == 0 {
			fmt.Fprintln(c.ErrOrStderr(), "no messages")
			return a.end(would)
		}
		if a.dryRun {
			fmt.Fprintf(c.OutOrStdout(), "would resend %s, %s\n", messages(would.Messages), size(would.Bytes))
			return a.end(would)
		}
		if !a.yes {
			if ok, err := confirm(c, fmt.Sprintf("resend %s, %s?", messages(would.Messages), size(would.Bytes))); !ok {
				return err
			}
		}
		done, err := askResend(c.Context(), s, filter, false)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "resending %s, %s\n", messages(done.Messages), size(done.Bytes))
		return a.end(done)
	})
}

// checkIDs refuses an empty one: without any, all of a topic would be meant.
func (a *resend) checkIDs(c *cobra.Command) error {
	if slices.Contains(a.ids, "") || c.Flags().Changed("id") && len(a.ids) == 0 {
		return fail(exitUsage, "--id is empty: %w; see '%s --help'", errNothingChosen, c.CommandPath())
	}
	return nil
}

// end is the command's: messages that were named and are not kept are a failure.
func (a *resend) end(got resendAnswer) error {
	switch {
	case len(got.Missing) == 0:
		return nil
	case len(got.Missing) == len(a.ids):
		return fail(exitFailed, "none of %s is kept", messages(len(a.ids)))
	}
	return fail(exitPartly, "%d of %s are not kept", len(got.Missing), messages(len(a.ids)))
}

func (a *resend) filter() (map[string]any, error) {
	f := map[string]any{}
	if a.topic != "" {
		f["topic"] = a.topic
	}
	if len(a.ids) > 0 {
		f["ids"] = a.ids
	}
	for name, text := range map[string]string{"since": a.since, "until": a.until} {
		if text == "" {
			continue
		}
		at, err := timeOf(text)
		if err != nil {
			return nil, fail(exitUsage, "--%s: %w", name, err)
		}
		f[name] = at
	}
	if len(f) == 0 {
		return nil, fail(exitUsage, "say which: --since, --until, --topic or --id")
	}
	return f, nil
}

// timeOf reads a time, or how long ago it was.
func timeOf(text string) (time.Time, error) {
	if age, err := duration.Parse(text); err == nil && age >= 0 {
		return time.Now().Add(-age), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q is neither a time as 2026-01-02T03:04:05Z nor an age as 10m or 2d", text)
	}
	return at, nil
}

func askResend(ctx context.Context, s *spooler, filter map[string]any, dry bool) (answer resendAnswer, err error) {
	body, err := json.Marshal(map[string]any{"filter": filter, "dry_run": dry})
	if err != nil {
		return answer, err
	}
	r, err := s.do(ctx, http.MethodPost, "/v1/messages/resend", http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body))
	switch {
	case err != nil:
		return answer, fail(exitUnreachable, "cannot reach the sidecar: %w; is it running, and is --url right?", err)
	case r.status != http.StatusOK && r.status != http.StatusAccepted:
		return answer, r.problem()
	}
	return answer, json.Unmarshal(r.body, &answer)
}
