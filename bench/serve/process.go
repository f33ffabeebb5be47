package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/remora-mq/remora/bench/proc"
)

// Process is a server in a process of its own: this program, started again with
// "serve".
type Process struct {
	*proc.Process

	Hello  Hello
	Opened time.Duration // from its start to the first connection it takes

	said *bufio.Reader // its standard output, a JSON document a line
	out  io.Closer
}

// Start returns when the server listens. ctx bounds only that.
func Start(ctx context.Context, kind Kind, dir string) (*Process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own program: %w", err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "serve", string(kind), dir)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	began := time.Now()
	running, err := proc.Start(cmd)
	stdout.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	p := &Process{Process: running, said: bufio.NewReader(out), out: out}
	defer context.AfterFunc(ctx, running.Kill)() // the read below tells
	err = p.Hear(&p.Hello)
	p.Opened = time.Since(began)
	if err := errors.Join(err, ctx.Err()); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// Hear reads the next line that it says. What it said before it ended waits.
func (p *Process) Hear(into any) error {
	line, err := p.said.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("it ended without a word: %w", err)
	}
	return json.Unmarshal(line, into)
}

// Ask reads a page of its inside; into nil: only that it was answered.
func (p *Process) Ask(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.Hello.Inside+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200)) // only shown
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// Kill is kill -9. Nothing more can be heard.
func (p *Process) Kill() {
	p.Process.Kill()
	p.out.Close()
}

// Stop is a clean stop, after which last reads what the server still says; nil:
// nothing is read.
func (p *Process) Stop(grace time.Duration, last any) error {
	defer p.out.Close()
	if err := p.Process.Stop(grace); err != nil || last == nil {
		return err
	}
	return p.Hear(last)
}
