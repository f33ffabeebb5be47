package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/spool"
)

func newSpoolExport() *cobra.Command {
	var o operate
	var f filter
	c := &cobra.Command{
		Use:   "export FILE",
		Short: "Write messages that are held to a file, with all that they carry",
		Long: "The way out in an emergency: FILE has every message that is held, or those that the filters\n" +
			"name, a line each, with checksums; 'sidecar spool import' takes them in elsewhere, under\n" +
			"the same message IDs. Each has its idempotency key; without a filter, the keys of messages\n" +
			"that are settled follow. Nothing leaves the spool. FILE appears when it is whole, read back\n" +
			"and on disk. It is plain text, also of an encrypted spool: keep it as you keep the messages.",
		Example: "  sidecar spool export held.ndjson --dir /var/lib/remora\n  sidecar spool export dead.ndjson --state dead",
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.use(c, func(s *spooler) error { return export(c, s, f.values(), args[0]) })
	}
	o.register(c)
	f.register(c)
	return c
}

func export(c *cobra.Command, s *spooler, q url.Values, path string) error {
	n, keys := 0, 0
	err := writeWhole(path, func(temp *os.File) (err error) {
		n, keys, err = writeExport(c, s, q, temp)
		return err
	})
	if err != nil {
		return err
	}
	also := ""
	if keys > 0 {
		also = fmt.Sprintf(", and %s of settled ones,", idempotencyKeys(keys))
	}
	fmt.Fprintf(c.OutOrStdout(), "%s%s in %s\n", messages(n), also, path)
	return nil
}

// writeWhole makes a file that was not there, which appears when write has written
// all of it and it is on disk.
func writeWhole(path string, write func(*os.File) error) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fail(exitFailed, "%s is there already; name another file", path)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".export-*")
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name()) // what is not whole is of no use
		}
		err = errors.Join(err, temp.Close())
	}()
	if err := write(temp); err != nil {
		return err
	}
	if err := appear(temp, path); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func writeExport(c *cobra.Command, s *spooler, q url.Values, to *os.File) (n, keys int, err error) {
	query := ""
	if len(q) > 0 {
		query = "?" + q.Encode()
	}
	written := newCounter(c.ErrOrStderr(), "bytes")
	err = s.stream(c.Context(), http.MethodGet, "/v1/export"+query, nil, func(body io.Reader) error {
		_, err := io.Copy(to, io.TeeReader(body, written))
		return err
	})
	if written.end(); err != nil {
		return 0, 0, err
	}
	return readBack(to)
}

func idempotencyKeys(n int) string {
	if n == 1 {
		return "1 idempotency key"
	}
	return fmt.Sprintf("%d idempotency keys", n)
}

// readBack proves that the file is whole, and counts what it has.
func readBack(f *os.File) (messages, keys int, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, 0, fmt.Errorf("read the export back: %w", err)
	}
	found, err := spool.CheckExport(f)
	if len(found.Bad) > 0 {
		err = found.Bad[0]
	}
	if err != nil {
		return 0, 0, fmt.Errorf("the export is not whole, and was removed: %w; look at the sidecar's log, then do it again", err)
	}
	return found.Messages, found.Keys, nil
}

// appear gives a file its name, durably, and never takes another's.
func appear(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
