package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// publish is the command: what to send, where, and how to say it.
type publish struct {
	url, tokenFile string
	files          []string
	lines          bool
	patience       time.Duration
	output         format

	tag, orderingKey, idempotencyKey, contentType string
	delay, deliverAt, ttl, wait                   string
	keys, properties                              []string
}

func newPublish() *cobra.Command {
	p := &publish{output: format{value: "id", known: []string{"id", "json"}}}
	c := &cobra.Command{
		Use:   "publish TOPIC [TEXT...]",
		Short: "Hand messages to a running sidecar",
		Long: "Sends each TEXT as a message; else each --file; else standard input, whole or by --lines.\n" +
			"Prints the ID of each message when it is on stable storage. Ends with 1 when the sidecar\nrefused, 3 when it cannot be reached, 4 when only some messages were taken.",
		Example: "  sidecar publish orders 'hello' --tag created --key 42\n  sidecar publish orders --file order.json --wait 5s -o json\n  seq 1000 | sidecar publish numbers --lines --retry 30s",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE:    func(c *cobra.Command, args []string) error { return p.run(c, args[0], args[1:]) },
	}
	p.register(c)
	return c
}

func (p *publish) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&p.url, "url", defaultURL(), "the sidecar: http://host:port or unix:///path.sock")
	f.StringVar(&p.tokenFile, "token-file", "", "file with the bearer token (default: $REMORA_TOKEN)")
	f.StringArrayVarP(&p.files, "file", "f", nil, "send the content of a file (repeatable)")
	f.BoolVar(&p.lines, "lines", false, "send each line of standard input as a message")
	f.DurationVar(&p.patience, "retry", 0, "how long to try again when the sidecar is away or full; never stores twice")
	f.VarP(&p.output, "output", "o", "id or json")
	f.StringVar(&p.tag, "tag", "", "RocketMQ tag")
	f.StringArrayVar(&p.keys, "key", nil, "searchable key (repeatable)")
	f.StringVar(&p.orderingKey, "ordering-key", "", "messages that share it keep their order")
	f.StringVar(&p.idempotencyKey, "idempotency-key", "", "the same key and content are stored once")
	f.StringArrayVar(&p.properties, "property", nil, "name=value (repeatable)")
	f.StringVar(&p.contentType, "content-type", "", "media type of the body")
	f.StringVar(&p.wait, "wait", "", "wait so long for the broker's confirmation, as 5s")
	f.StringVar(&p.delay, "delay", "", "do not deliver before so long, as 90s")
	f.StringVar(&p.deliverAt, "deliver-at", "", "do not deliver before that time (RFC 3339)")
	f.StringVar(&p.ttl, "ttl", "", "a dead letter if not confirmed within, as 10m")
}

func defaultURL() string {
	if u := os.Getenv("REMORA_URL"); u != "" {
		return u
	}
	return "http://127.0.0.1:7600"
}

func (p *publish) run(c *cobra.Command, topic string, texts []string) error {
	token, err := readToken(p.tokenFile)
	if err != nil {
		return err
	}
	side, err := newClient(p.url, token)
	if err != nil {
		return err
	}
	path, err := p.path(topic)
	if err != nil {
		return err
	}
	taken := 0
	err = p.bodies(c.InOrStdin(), texts, func(body []byte) error {
		if p.idempotencyKey != "" && taken > 0 {
			return fail(exitUsage, "--idempotency-key is for one message; leave it out, or send one")
		}
		if err := p.send(c, side, path, body); err != nil {
			return err
		}
		taken++
		return nil
	})
	if err != nil && taken > 0 {
		return fail(exitPartly, "%s; the next one %s: %w", plural(taken, "message is stored", "messages are stored"), fateOf(err), err)
	}
	return err
}

// fateOf says what became of the message whose sending ended so.
func fateOf(err error) string {
	refused := refusal{}
	if !errors.As(err, &refused) {
		return "is not known to be"
	}
	switch refused.stored {
	case "false":
		return "is not"
	case "true":
		return "is, too"
	}
	return "is not known to be"
}

// path carries the options as query parameters, which may be any text.
func (p *publish) path(topic string) (string, error) {
	q := url.Values{"key": p.keys}
	for name, value := range map[string]string{
		"tag": p.tag, "ordering_key": p.orderingKey, "idempotency_key": quoted(p.idempotencyKey),
		"wait": p.wait, "delay": p.delay, "deliver_at": p.deliverAt, "ttl": p.ttl,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, property := range p.properties {
		name, value, ok := bytes.Cut([]byte(property), []byte("="))
		if !ok {
			return "", fail(exitUsage, "--property %q is not name=value", property)
		}
		q.Add("prop."+string(name), string(value))
	}
	path := "/v1/topics/" + url.PathEscape(topic) + "/messages"
	if encoded := q.Encode(); encoded != "" {
		path += "?" + encoded
	}
	return path, nil
}

func quoted(key string) string {
	if key == "" {
		return ""
	}
	return strconv.Quote(key)
}

// bodies hands over each message's body in turn.
func (p *publish) bodies(stdin io.Reader, texts []string, each func([]byte) error) error {
	switch {
	case len(texts) > 0 && (len(p.files) > 0 || p.lines):
		return fail(exitUsage, "send TEXT, --file or --lines, not several of them")
	case len(texts) > 0:
		for _, text := range texts {
			if err := each([]byte(text)); err != nil {
				return err
			}
		}
		return nil
	case len(p.files) > 0:
		return eachFile(p.files, each)
	case p.lines:
		return eachLine(stdin, each)
	}
	body, err := io.ReadAll(stdin)
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return each(body)
}

func eachFile(paths []string, each func([]byte) error) error {
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read a message: %w", err)
		}
		if err := each(body); err != nil {
			return err
		}
	}
	return nil
}

func eachLine(r io.Reader, each func([]byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// send hands one message over, and prints its receipt.
func (p *publish) send(c *cobra.Command, side *client, path string, body []byte) error {
	header := http.Header{}
	if p.contentType != "" {
		header.Set("Content-Type", p.contentType)
	}
	if p.patience > 0 && p.idempotencyKey == "" {
		header.Set("Idempotency-Key", rand.Text()) // makes trying again safe
	}
	r, err := p.persist(c.Context(), func(ctx context.Context) (reply, error) {
		return side.do(ctx, http.MethodPost, path, header, bytes.NewReader(body))
	})
	switch {
	case err != nil:
		return fail(exitUnreachable, "cannot reach the sidecar: %w; is it running, and is --url right?", err)
	case r.status/100 != 2:
		return r.problem()
	}
	if p.output.value == "json" {
		_, err = c.OutOrStdout().Write(append(bytes.TrimSpace(r.body), '\n'))
		return err
	}
	var receipt struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(r.body, &receipt); err != nil {
		return fmt.Errorf("read the receipt: %w", err)
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), receipt.ID)
	return err
}

// persist tries again for as long as was asked for.
func (p *publish) persist(ctx context.Context, attempt func(context.Context) (reply, error)) (reply, error) {
	deadline := time.Now().Add(p.patience)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		r, err := attempt(ctx)
		again := err != nil || r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests
		if !again || time.Now().Add(wait).After(deadline) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(wait):
		}
	}
}
