package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// act is a command that changes messages.
type act struct {
	operate
	filter

	verb        string
	yes, dryRun bool
	done        int
	failed      int
}

func newQueueAct(verb, short, long string) *cobra.Command {
	a := &act{verb: verb}
	c := &cobra.Command{
		Use:   verb + " [ID...]",
		Short: short,
		Long: long + "\n\nNames messages by their IDs, or by filters. For more than one, and always for cancel, it\n" +
			"says how many there are and asks. Ends with 4 when it could do only a part.",
		Example: fmt.Sprintf("  sidecar queue %s 0A3B...\n  sidecar queue %s --topic orders --older-than 1h --dry-run", verb, verb),
		RunE:    func(c *cobra.Command, ids []string) error { return a.run(c, ids) },
	}
	a.operate.register(c)
	a.filter.register(c)
	c.Flags().BoolVar(&a.yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&a.dryRun, "dry-run", false, "say how many, and do nothing")
	return c
}

func (a *act) run(c *cobra.Command, ids []string) error {
	q := a.values()
	if (len(ids) > 0) == (len(q) > 0) {
		return fail(exitUsage, "name messages by their IDs, or by filters as --topic; see '%s --help'", c.CommandPath())
	}
	return a.use(c, func(s *spooler) error {
		if len(ids) == 0 {
			var err error
			if ids, err = a.find(c, s, q); err != nil {
				return err
			}
		}
		if ok, err := a.agreed(c, len(ids)); !ok {
			return err
		}
		return a.each(c, s, ids)
	})
}

// find lists what the filters mean, before anything is changed.
func (a *act) find(c *cobra.Command, s *spooler, q url.Values) (ids []string, err error) {
	unreadable, err := s.walk(c, q, func(raw json.RawMessage) error {
		var i item
		if err := json.Unmarshal(raw, &i); err != nil {
			return err
		}
		ids = append(ids, i.ID)
		return nil
	})
	noteUnreadable(c, unreadable)
	return ids, err
}

// agreed asks before much is changed, or something for good.
func (a *act) agreed(c *cobra.Command, n int) (bool, error) {
	if n == 0 {
		fmt.Fprintln(c.ErrOrStderr(), "no messages")
		return false, nil
	}
	if a.dryRun {
		fmt.Fprintf(c.OutOrStdout(), "would %s %s\n", a.verb, messages(n))
		return false, nil
	}
	if a.yes || n == 1 && a.verb != "cancel" {
		return true, nil
	}
	return confirm(c, fmt.Sprintf("%s %s?", a.verb, messages(n)))
}

// confirm asks on stderr and reads a line. Without one it is a usage error:
// a script has to say --yes.
func confirm(c *cobra.Command, question string) (bool, error) {
	fmt.Fprintf(c.ErrOrStderr(), "%s [y/N] ", question)
	line, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		fmt.Fprintln(c.ErrOrStderr())
		return false, fail(exitUsage, "nobody is there to answer; say --yes, or --dry-run to see what would be done")
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	if answer == "y" || answer == "yes" {
		return true, nil
	}
	return false, fail(exitFailed, "nothing was done")
}

func messages(n int) string { return plural(n, "message", "messages") }

// each acts on one message after the other; one that is refused stops no other.
func (a *act) each(c *cobra.Command, s *spooler, ids []string) error {
	for _, id := range ids {
		method, path := http.MethodPost, messagePath(id)+"/"+a.verb
		if a.verb == "cancel" {
			method, path = http.MethodDelete, messagePath(id)
		}
		_, err := s.ask(c.Context(), method, path)
		switch refused := (refusal{}); {
		case err == nil:
			a.done++
			fmt.Fprintln(c.OutOrStdout(), id)
		case errors.As(err, &refused) && refused.status < http.StatusInternalServerError && refused.status != http.StatusUnauthorized:
			a.failed++
			fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", id, err)
		case a.done > 0:
			return fail(exitPartly, "%s of %d done: %w", messages(a.done), len(ids), err)
		default:
			return err
		}
	}
	switch {
	case a.failed == 0:
		return nil
	case a.done == 0:
		return fail(exitFailed, "none of %s could be changed", messages(len(ids)))
	}
	return fail(exitPartly, "%s done, %d refused", messages(a.done), a.failed)
}

func messagePath(id string) string { return "/v1/messages/" + url.PathEscape(id) }
