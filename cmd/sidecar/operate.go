package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/telemetry"
	"github.com/remora-mq/remora/sidecar"
)

// operate says which spool a command works on: that of a running sidecar, by its
// admin API, or a directory that no sidecar has.
type operate struct {
	settings

	url, tokenFile, dir string
}

func (o *operate) register(c *cobra.Command) {
	o.settings.register(c)
	o.registerRunning(c)
	choose(c, &o.dir, "dir", "spool.dir of a sidecar, running or not")
}

// registerRunning is for commands that only a running sidecar can do.
func (o *operate) registerRunning(c *cobra.Command) {
	c.Flags().StringVar(&o.url, "url", "", "admin listener of a running sidecar (default: $REMORA_ADMIN_URL, or listen.admin)")
	c.Flags().StringVar(&o.tokenFile, "token-file", "", "file with the admin token (default: $REMORA_ADMIN_TOKEN)")
}

// spooler is a spool that is open to a command.
type spooler struct {
	*client

	offline *sidecar.Offline // nil: a running sidecar has it
}

func (s *spooler) Close() error {
	if s.offline == nil {
		return nil
	}
	return s.offline.Close()
}

// use opens the spool, does something, and closes it.
func (o *operate) use(c *cobra.Command, do func(*spooler) error) (err error) {
	s, err := o.open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(s)
}

// open takes the directory, where one is named and free; else it asks the
// sidecar that has it.
func (o *operate) open(c *cobra.Command) (*spooler, error) {
	if !o.names() {
		return o.running(o.address(""))
	}
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	offline, err := sidecar.OpenOffline(c.Context(), cfg, version, quietLog(c.ErrOrStderr()))
	switch {
	case err == nil:
		return &spooler{newLocalClient(offline.Handler()), offline}, nil
	case errors.Is(err, kv.ErrLocked):
		return o.owner(c.Context(), cfg, err)
	}
	return nil, err
}

// names reports whether a directory was named.
func (o *operate) names() bool { return o.dir != "" || o.file != "" || len(o.set) > 0 }

func (o *operate) config() (config.Config, error) {
	if o.dir != "" {
		o.set = append(o.set, "spool.dir="+o.dir)
	}
	loaded, err := o.load()
	if err != nil {
		return config.Config{}, err
	}
	return loaded.Config, nil
}

// load leaves the broker open: most commands need none. One that is not contacted
// stands for it, because the embedded one refuses a key file.
func (o *operate) load() (*config.Loaded, error) {
	s := o.settings
	if o.file == "" {
		s.set = append([]string{"broker.type=" + config.BrokerRocketMQ, "broker.rocketmq.name_servers=127.0.0.1:9876"}, s.set...)
	}
	return s.load()
}

// address is where the admin API is.
func (o *operate) address(configured string) string {
	switch env := os.Getenv("REMORA_ADMIN_URL"); {
	case o.url != "":
		return o.url
	case env != "":
		return env
	case configured != "":
		return "http://" + configured
	}
	return "http://" + config.Default().Listen.Admin
}

// running speaks to a sidecar.
func (o *operate) running(url string) (*spooler, error) {
	token := os.Getenv("REMORA_ADMIN_TOKEN")
	if o.tokenFile != "" {
		var err error
		if token, err = readToken(o.tokenFile); err != nil {
			return nil, err
		}
	}
	side, err := newClient(url, token)
	if err != nil {
		return nil, err
	}
	side.http.Timeout = 0 // a count of all records may take minutes; who waits can end it
	return &spooler{side, nil}, nil
}

// owner speaks to the sidecar that has the directory, after it has said so: a
// command for one spool must not work on another.
func (o *operate) owner(ctx context.Context, cfg config.Config, locked error) (*spooler, error) {
	url := o.address(cfg.Listen.Admin)
	s, err := o.running(url)
	if err != nil {
		return nil, err
	}
	var status sidecar.Status
	if err := s.get(ctx, "/v1/status", &status); err != nil {
		return nil, fail(sidecar.ExitLocked, "%w; its admin API is not at %s (%w): name it by --url", locked, url, err)
	}
	if status.Spool == nil || !sameDir(status.Spool.Dir, cfg.Spool.Dir) {
		return nil, fail(sidecar.ExitLocked, "%w; the sidecar at %s has another directory: name the right one by --url", locked, url)
	}
	return s, nil
}

// sameDir compares directories by what they are. One that cannot be seen from
// here, as that of a container, is compared by its name.
func sameDir(theirs, ours string) bool {
	a, errA := os.Stat(theirs)
	b, errB := os.Stat(ours)
	if errA == nil && errB == nil && filepath.IsAbs(theirs) {
		return os.SameFile(a, b)
	}
	return filepath.Base(filepath.Clean(theirs)) == filepath.Base(filepath.Clean(ours))
}

// quietLog says what an operator has to know, on stderr.
func quietLog(w io.Writer) *slog.Logger {
	log, err := telemetry.NewLogger(w, telemetry.LogOptions{Level: "error", Format: "text"})
	if err != nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// ask makes a request and returns the JSON of its answer.
func (s *spooler) ask(ctx context.Context, method, path string) (json.RawMessage, error) {
	r, err := s.answer(ctx, method, path)
	return r.body, err
}

// answer makes a request and returns its answer, which is 200.
func (s *spooler) answer(ctx context.Context, method, path string) (reply, error) {
	r, err := s.do(ctx, method, path, nil, nil)
	switch {
	case err != nil:
		return reply{}, fail(exitUnreachable, "cannot reach the sidecar: %w; is it running, and is --url right? The spool of one that is stopped is opened by --dir", err)
	case r.status != http.StatusOK:
		return reply{}, r.problem()
	}
	return r, nil
}

// post sends an object, and returns the JSON of the answer.
func (s *spooler) post(ctx context.Context, path string, order map[string]any) (json.RawMessage, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return nil, err
	}
	r, err := s.do(ctx, http.MethodPost, path, http.Header{"Content-Type": {"application/json"}}, bytes.NewReader(body))
	switch {
	case err != nil:
		return nil, fail(exitUnreachable, "cannot reach the sidecar: %w; is it running, and is --url right?", err)
	case r.status != http.StatusOK && r.status != http.StatusAccepted:
		return nil, r.problem()
	}
	return r.body, nil
}

// read asks for a JSON document, as it came and decoded.
func (s *spooler) read(ctx context.Context, path string, into any) (json.RawMessage, error) {
	raw, err := s.ask(ctx, http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	if err := decoded(raw, into); err != nil {
		return nil, err
	}
	return raw, nil
}

// decoded decodes what a sidecar answered.
func decoded(raw json.RawMessage, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read the sidecar's answer: %w; are both of the same version?", err)
	}
	return nil
}
