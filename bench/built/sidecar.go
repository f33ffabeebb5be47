package built

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/remora-mq/remora/bench/proc"
)

// Sidecar is a running one.
type Sidecar struct {
	*proc.Process
	Addresses

	log string
}

// Addresses are where it listens.
type Addresses struct {
	Data   []string
	Admin  string
	Health string
}

// grace is how long a sidecar may take to be ready, and to end.
const grace = time.Minute

// Start runs program on free ports of the loopback address, with its spool and
// its log in dir, and settings that are written as for --set. It returns when
// the sidecar is ready; ctx bounds that.
func Start(ctx context.Context, program, dir string, settings ...string) (*Sidecar, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	args := []string{"run"}
	for _, s := range append([]string{
		"spool.dir=" + filepath.Join(dir, "data"),
		"listen.data=127.0.0.1:0", "listen.admin=127.0.0.1:0", "listen.health=127.0.0.1:0",
	}, settings...) {
		args = append(args, "--set", s)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := proc.Start(cmd)
	if err != nil {
		return nil, err
	}
	s := &Sidecar{Process: p, log: log.Name()}
	if err := s.awaitReady(ctx); err != nil {
		p.Kill()
		return nil, fmt.Errorf("%w: %s", err, s.said())
	}
	return s, nil
}

// awaitReady looks into the log until the line is there that tells the ports.
func (s *Sidecar) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for {
		content, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		if s.readAddresses(content) {
			return nil
		}
		select {
		case <-s.Exited():
			return errors.New("the sidecar ended at once")
		case <-ctx.Done():
			return fmt.Errorf("the sidecar is not ready: %w", context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Sidecar) readAddresses(log []byte) bool {
	for line := range bytes.Lines(log) {
		var said struct {
			Msg string
			Addresses
		}
		if json.Unmarshal(line, &said) == nil && said.Msg == "ready" {
			s.Addresses = said.Addresses
			return true
		}
	}
	return false
}

// said is the end of its log.
func (s *Sidecar) said() string {
	content, _ := os.ReadFile(s.log) // what went wrong, if it said so
	return string(content[max(0, len(content)-500):])
}

// End is a clean stop.
func (s *Sidecar) End() error {
	if err := s.Stop(grace); err != nil {
		return fmt.Errorf("%w: %s", err, s.said())
	}
	return nil
}

// Metrics reads the values of some series, named with their labels, in order.
func (s *Sidecar) Metrics(ctx context.Context, series ...string) ([]float64, error) {
	page, err := Ask(ctx, http.MethodGet, "http://"+s.Health+"/metrics")
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return valuesOf(string(page), series)
}

func valuesOf(page string, series []string) ([]float64, error) {
	values := make([]float64, len(series))
	for i, name := range series {
		_, rest, found := strings.Cut("\n"+page, "\n"+name+" ")
		text, _, _ := strings.Cut(rest, "\n")
		v, err := strconv.ParseFloat(text, 64)
		if !found || err != nil {
			return nil, fmt.Errorf("read metrics: there is no %s", name)
		}
		values[i] = v
	}
	return values, nil
}
