package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

func newSpoolImport() *cobra.Command {
	var o operate
	var yes, dryRun, partial bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Take in the messages of an export, under the IDs that they have",
		Long: "Reads all of FILE first, and asks. What is held already, or known by its receipt or its\n" +
			"idempotency key, is left alone: doing it twice does no harm. A file that is damaged is\n" +
			"refused, with the lines; --partial takes in all others. Make sure that the spool the file\n" +
			"comes from does not forward the same messages: the broker would get them twice, under the\n" +
			"same IDs.",
		Example: "  sidecar spool import held.ndjson\n  sidecar spool import held.ndjson --dir /var/lib/remora --dry-run",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		file, err := os.Open(args[0])
		if err != nil {
			return fmt.Errorf("import: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		if ok, err := agreedToImport(c, file, yes, dryRun, partial); !ok {
			return err
		}
		return o.use(c, func(s *spooler) error { return importFile(c, s, file, partial) })
	}
	o.register(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "read the file, and take in nothing")
	c.Flags().BoolVar(&partial, "partial", false, "take in what can be used of a file that is damaged, or has a transaction that is too large here")
	return c
}

// agreedToImport reads the whole file before anything is done.
func agreedToImport(c *cobra.Command, file *os.File, yes, dryRun, partial bool) (bool, error) {
	reading := newCounter(c.ErrOrStderr(), "bytes")
	found, err := spool.CheckExport(io.TeeReader(file, reading))
	if reading.end(); err != nil {
		return false, fail(exitFailed, "%s: %w", file.Name(), err)
	}
	for _, line := range found.Bad {
		fmt.Fprintf(c.ErrOrStderr(), "%s: %s\n", file.Name(), line)
	}
	if found.Version == 1 {
		fmt.Fprintf(c.ErrOrStderr(), "%s is of format 1, which has no idempotency keys: a client that repeats one of its messages after the import makes a second one\n", file.Name())
	}
	n := found.Messages
	switch {
	case found.AllBad > 0 && !partial:
		return false, fail(exitFailed, "%s is damaged in %d places; nothing was done. Copy it again from where it comes, or take in the other %s by --partial", file.Name(), found.AllBad, messages(n))
	case dryRun:
		fmt.Fprintf(c.OutOrStdout(), "would import up to %s\n", messages(n))
		return false, nil
	case yes:
	default:
		if ok, err := confirm(c, fmt.Sprintf("import up to %s?", messages(n))); !ok {
			return false, err
		}
	}
	_, err = file.Seek(0, io.SeekStart)
	return err == nil, err
}

func importFile(c *cobra.Command, s *spooler, file *os.File, partial bool) error {
	path := "/v1/import"
	if partial {
		path += "?partial=true"
	}
	var done spool.Imported
	sent := newCounter(c.ErrOrStderr(), "bytes")
	err := s.stream(c.Context(), http.MethodPost, path, io.TeeReader(file, sent), func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&done)
	})
	sent.end()
	if why := (refusal{}); errors.As(err, &why) && (why.status == http.StatusServiceUnavailable || why.code == problem.InvalidBatch) {
		return fail(exitPartly, "%w", err)
	}
	if err != nil {
		return err
	}
	return toldOfImport(c, &done)
}

// toldOfImport says what came of an import; lines that are not whole are named already.
func toldOfImport(c *cobra.Command, done *spool.Imported) error {
	fmt.Fprintf(c.OutOrStdout(), "imported %s and %s of others; %d were known, %d lines cannot be used\n",
		messages(done.Messages), idempotencyKeys(done.Keys), done.Known, done.Refused)
	if done.Decided > 0 {
		fmt.Fprintf(c.OutOrStdout(), "decided transactions that are known here now: %d\n", done.Decided)
	}
	for _, line := range done.Unfit {
		fmt.Fprintln(c.ErrOrStderr(), line)
	}
	if done.Conflicts > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "%s came without their idempotency key: another message has it here, with other content, or was cancelled or discarded\n", messages(done.Conflicts))
	}
	if done.Refused > 0 {
		return fail(exitPartly, "%d lines were passed over; they are named above", done.Refused)
	}
	return nil
}
