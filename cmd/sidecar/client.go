package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// client speaks to the data listener of a running sidecar.
type client struct {
	base  string
	token string
	http  *http.Client
}

// newClient takes http://host:port or unix:///path.sock.
func newClient(address, token string) (*client, error) {
	c := &client{base: strings.TrimSuffix(address, "/"), token: token}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	switch path, isUnix := strings.CutPrefix(address, "unix://"); {
	case isUnix:
		c.base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
	case !strings.HasPrefix(address, "http://"):
		return nil, fail(exitUsage, "%q is neither http://host:port nor unix:///path.sock", address)
	}
	c.http = &http.Client{Transport: transport, Timeout: 90 * time.Second}
	return c, nil
}

// newLocalClient speaks to a handler in this process.
func newLocalClient(handler http.Handler) *client {
	return &client{base: "http://localhost", http: &http.Client{Transport: local{handler}}}
}

// readToken returns the first token in a file; "" when none is named.
func readToken(path string) (string, error) {
	if path == "" {
		return os.Getenv("REMORA_TOKEN"), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	if f := strings.Fields(string(b)); len(f) > 0 {
		return f[0], nil
	}
	return "", fail(exitUsage, "%s holds no token", path)
}

// reply is an answer of the sidecar.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do makes one request; an error means that no whole answer came.
func (c *client) do(ctx context.Context, method, path string, header http.Header, body io.Reader) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body) //nolint:gosec // the address is the caller's own choice
	if err != nil {
		return reply{}, err
	}
	maps.Copy(req.Header, header)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req) //nolint:gosec // the same
	if err != nil {
		return reply{}, err
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	return reply{res.StatusCode, res.Header, b}, errors.Join(err, res.Body.Close())
}

// get reads a JSON document.
func (c *client) get(ctx context.Context, path string, into any) error {
	r, err := c.do(ctx, http.MethodGet, path, nil, nil)
	switch {
	case err != nil:
		return err
	case r.status != http.StatusOK:
		return r.problem()
	}
	return json.Unmarshal(r.body, into)
}

// stream makes a request whose body, or answer, may be of any length, and lets
// read the answer.
func (c *client) stream(ctx context.Context, method, path string, body io.Reader, read func(io.Reader) error) (err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	patient := *c.http
	patient.Timeout = 0
	res, err := patient.Do(req)
	if err != nil {
		return fail(exitUnreachable, "cannot reach the sidecar: %w; is it running, and is --url right?", err)
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		return errors.Join(err, reply{res.StatusCode, res.Header, b}.problem())
	}
	return read(res.Body)
}

// refusal is a problem document. stored is as it came: true, false or "unknown".
type refusal struct {
	status int
	code   string
	stored string
	text   string
}

func (r refusal) Error() string { return r.text }

// problem reads a problem document, and says it in a line.
func (r reply) problem() error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Hint   string `json:"hint"`
		Code   string `json:"code"`

		Stored json.RawMessage `json:"stored"`
	}
	if json.Unmarshal(r.body, &p) != nil || p.Code == "" {
		return refusal{r.status, "", "", fmt.Sprintf("the sidecar answered %d: %.200q", r.status, r.body)}
	}
	text := fmt.Sprintf("%d %s: ", r.status, p.Code)
	switch {
	case p.Detail == "":
		text += p.Title
	case strings.HasPrefix(strings.ToLower(p.Detail), strings.ToLower(p.Title)):
		text += p.Detail // says it, and more
	default:
		text += p.Title + ": " + p.Detail
	}
	if p.Hint != "" {
		text += "\n" + p.Hint
	}
	return refusal{r.status, p.Code, string(p.Stored), text}
}
