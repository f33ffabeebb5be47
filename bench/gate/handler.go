package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/bench/proc"
)

// tally is what the handler has seen since the last look at it.
type tally struct {
	Calls int           `json:"calls"`
	Whole int           `json:"whole"` // of them: with a body of the right size
	Took  time.Duration `json:"took"`  // from the first call that counts to the last
	Timed int           `json:"timed"` // calls in that time
}

// counter is the handler: it answers 200 at once. When it has been called so often
// as is expected, whoever waits for that is told.
type counter struct {
	mu       sync.Mutex
	tally    tally
	expected int
	first    time.Time
	done     chan struct{}
}

// expect begins to count n calls. The clock runs from the end of the first tenth.
func (c *counter) expect(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally, c.expected, c.done = tally{}, n, make(chan struct{})
}

func (c *counter) call(body int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.Calls++
	if body == bodySize {
		c.tally.Whole++
	}
	warm := c.expected / 10
	switch c.tally.Calls {
	case warm + 1:
		c.first = time.Now()
	case c.expected:
		c.tally.Took, c.tally.Timed = time.Since(c.first), c.expected-warm-1
		close(c.done)
	}
}

func (c *counter) waitFor() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *counter) seen() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tally
}

// serve answers calls of /call, and what the parent asks.
func (c *counter) serve(r *fasthttp.RequestCtx) {
	switch string(r.Path()) {
	case "/call":
		c.call(len(r.PostBody()))
	case "/expect":
		n, err := r.QueryArgs().GetUint("n")
		if err != nil || n < 2 {
			r.Error("n is missing", fasthttp.StatusBadRequest)
			return
		}
		c.expect(n)
	case "/await":
		<-c.waitFor()
	case "/seen":
		_ = json.NewEncoder(r).Encode(c.seen()) // into memory
	default:
		r.Error("not found", fasthttp.StatusNotFound)
	}
}

// handle serves on a free port, says which, and ends when ctx does.
func handle(ctx context.Context, out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c := &counter{}
	c.expect(2)
	s := &fasthttp.Server{Handler: c.serve}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil // the process ends, and its connections with it
	case err := <-served:
		return err
	}
}

// handler is that process.
type handler struct {
	*proc.Process

	url string
}

func startHandler() (*handler, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	said, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd := exec.Command(program, "handler")
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	p, err := proc.Start(cmd)
	stdout.Close()
	if err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("the handler ended at once: %w", err)
	}
	return &handler{p, "http://" + addr[:len(addr)-1]}, nil
}

// measure has do make n calls of the handler, and returns how many a second it saw.
func (h *handler) measure(ctx context.Context, n int, do func(context.Context) error) (rate float64, err error) {
	if _, err := built.Ask(ctx, http.MethodGet, fmt.Sprintf("%s/expect?n=%d", h.url, n)); err != nil {
		return 0, err
	}
	if err := do(ctx); err != nil {
		return 0, err
	}
	if _, err := built.Ask(ctx, http.MethodGet, h.url+"/await"); err != nil {
		return 0, err
	}
	t, err := h.seen(ctx)
	if err != nil {
		return 0, err
	}
	return float64(t.Timed) / t.Took.Seconds(), t.check(n)
}

// check is the account: each message once, and whole.
func (t tally) check(n int) error {
	if t.Calls != n || t.Whole != n {
		return fmt.Errorf("the handler was called %d times, %d of them with a whole body, for %d messages", t.Calls, t.Whole, n)
	}
	return nil
}

func (h *handler) seen(ctx context.Context) (t tally, err error) {
	page, err := built.Ask(ctx, http.MethodGet, h.url+"/seen")
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(page, &t)
}

// end is a clean stop.
func (h *handler) end() error {
	if err := h.Stop(10 * time.Second); err != nil {
		return errors.Join(errors.New("the handler did not end"), err)
	}
	return nil
}
