package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ledger is the sidecar's answer.
type ledger struct {
	Balanced bool `json:"balanced"`
	Total    struct {
		Accepted   int            `json:"accepted"`
		Confirmed  int            `json:"confirmed"`
		Cancelled  int            `json:"cancelled"`
		RolledBack int            `json:"rolled_back"`
		Discarded  int            `json:"discarded"`
		Lost       int            `json:"lost"`
		InSpool    map[string]int `json:"in_spool"`
	} `json:"total"`
}

func (l *ledger) held() (n int) {
	for _, one := range l.Total.InSpool {
		n += one
	}
	return n
}

// ledgerReader asks the admin listener.
type ledgerReader struct {
	admin, health *client
}

func newLedgerReader(a addresses) *ledgerReader {
	admin, _ := newClient("http://"+a.Admin, "") // the scheme is right
	health, _ := newClient("http://"+a.Health, "")
	admin.http.Timeout, health.http.Timeout = 5*time.Second, 5*time.Second
	return &ledgerReader{admin, health}
}

// read returns nil while the sidecar does not answer.
func (r *ledgerReader) read(ctx context.Context) *ledger {
	l := &ledger{}
	if r.admin.get(ctx, "/v1/ledger", l) != nil {
		return nil
	}
	return l
}

// settled waits until the spool holds nothing: confirmations are recorded a
// moment after the broker gave them.
func (r *ledgerReader) settled(ctx context.Context) (l *ledger, err error) {
	err = poll(ctx, 20*time.Millisecond, func() (bool, error) {
		l = r.read(ctx)
		return l != nil && l.held() == 0, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the spool does not become empty: %w", err)
	}
	return l, nil
}

// metric reads a counter of the process that runs now; labels as they are
// written, without braces.
func (r *ledgerReader) metric(ctx context.Context, name, label string) (n float64, err error) {
	page, err := r.health.do(ctx, http.MethodGet, "/metrics", nil, nil)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(page.body)); lines.Scan(); {
		line := lines.Text()
		value := line[strings.LastIndexByte(line, ' ')+1:]
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, label) {
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				return 0, fmt.Errorf("read metric %s: %w", line, err)
			}
			n += v
		}
	}
	return n, nil
}

// judge compares what three parties counted, and ends the sidecar.
func (d *demo) judge(ctx context.Context, app *demoApp, handler *demoHandler, side *child, view *view) error {
	reader := newLedgerReader(side.addresses)
	book, err := reader.settled(ctx)
	if err != nil {
		return err
	}
	suppressed, err := reader.metric(ctx, "remora_acks_total", `reason="repeat"`)
	if err != nil {
		return err
	}
	keys, moved, err := order(ctx, app)
	if err != nil {
		return err
	}
	view.last(book)
	if err := side.end(ctx); err != nil {
		return err
	}
	wrong := verdict(d, app, handler, book)
	wrong = append(wrong, moved...)
	writeBalance(view.screen, d, app, handler, book, int(suppressed), keys)
	if len(wrong) > 0 {
		return errors.New("it does not balance:\n  " + strings.Join(wrong, "\n  "))
	}
	return nil
}

// verdict lists what is not as promised.
func verdict(d *demo, app *demoApp, handler *demoHandler, book *ledger) (wrong []string) {
	handler.mu.Lock()
	defer handler.mu.Unlock()
	app.mu.Lock()
	defer app.mu.Unlock()
	wrong = append(wrong, app.wrong...)
	claim := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	t := book.Total
	claim(book.Balanced, "the ledger says that it is not balanced")
	claim(t.Accepted == t.Confirmed+t.Cancelled+t.RolledBack+t.Discarded+t.Lost+book.held(), "the ledger's numbers do not add up: %+v", t)
	claim(t.Accepted == len(app.known), "the ledger accepted %d, the application has receipts of %d", t.Accepted, len(app.known))
	claim(len(app.known) == d.messages, "%d messages were posted, %d have a receipt", d.messages, len(app.known))
	claim(t.Confirmed == t.Accepted, "%d of %d are confirmed", t.Confirmed, t.Accepted)
	for id, r := range app.known {
		number, ok := handler.number[id]
		claim(ok, "message %d (%s) was accepted and not handled", r.number, id)
		claim(!ok || number == r.number, "message %d (%s) reached the handler with other bytes", r.number, id)
	}
	for id := range handler.number {
		_, ok := app.known[id]
		claim(ok, "the handler got %s, which nobody has a receipt of", id)
	}
	claim(len(handler.twice) == 0, "the handler was called again after its 200 was recorded: %v", handler.twice)
	claim(handler.again <= demoConcurrency, "%d calls were repeated over the kill; only %d could be running", handler.again, demoConcurrency)
	return wrong
}

// order asks where the broker put each message of each ordering key: one queue,
// in the order of accept.
func order(ctx context.Context, app *demoApp) (keys int, wrong []string, err error) {
	all := app.byKey()
	for key, ids := range all {
		queue, last := "", -1
		for _, id := range ids {
			var r struct {
				Broker struct {
					Queue  string `json:"queue"`
					Offset int    `json:"offset"`
				} `json:"broker"`
			}
			if err := app.side.get(ctx, "/v1/messages/"+id, &r); err != nil {
				return 0, nil, fmt.Errorf("read the receipt of %s: %w", id, err)
			}
			if queue == "" {
				queue = r.Broker.Queue
			}
			if r.Broker.Queue != queue || r.Broker.Offset <= last {
				wrong = append(wrong, fmt.Sprintf("%s: %s is at %s/%d, after %s/%d", key, id, r.Broker.Queue, r.Broker.Offset, queue, last))
			}
			last = r.Broker.Offset
		}
	}
	return len(all), wrong, nil
}

// writeBalance tells the balance.
func writeBalance(s *screen, d *demo, app *demoApp, handler *demoHandler, book *ledger, suppressed, keys int) {
	n := handler.counts()
	t := book.Total
	fmt.Fprintf(s.out, `
The ledger   accepted %d = confirmed %d + cancelled %d + rolled back %d + discarded %d + lost %d + in the spool %d
             balanced: %t (counted from the records on disk, not subtracted)
Application  %d messages, %d requests: %d got no answer and were sent again, %d were told "accepted before"
Handler      %d calls: %d messages answered 200, %s answered 500 and retried
Repeats      %d redelivered after the kill and suppressed; %d whose 200 the kill kept from being recorded
Order        %d ordering keys, each in one queue in accept order
`, t.Accepted, t.Confirmed, t.Cancelled, t.RolledBack, t.Discarded, t.Lost, book.held(), book.Balanced,
		d.messages, app.tries.Load(), app.noAnswer.Load(), app.replayed.Load(),
		n.calls, n.handled, plural(n.refused, "call", "calls"), suppressed, n.again, keys)
}
