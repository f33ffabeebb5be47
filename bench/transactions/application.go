package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// application is asked for transactions, and never knows. It keeps the times at which
// it was asked in the last second.
type application struct {
	server *http.Server
	url    string
	ended  chan error

	mu     sync.Mutex
	asked  pace
	recent []time.Time
	now    int // being answered
}

// pace is how often an application was asked.
type pace struct {
	all      int
	inSecond int // in any one, at most
	atOnce   int // at most
}

func startApplication() (*application, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &application{url: "http://" + ln.Addr().String() + "/tx", ended: make(chan error, 1)}
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	go func() { a.ended <- a.server.Serve(ln) }()
	return a, nil
}

func (a *application) end() error {
	err := a.server.Close()
	if ended := <-a.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// ServeHTTP answers a check-back.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.begin(time.Now())
	defer a.done()
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		_, _ = io.WriteString(w, "UNKNOWN") // who asked may be gone
	}
}

func (a *application) begin(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := 0
	for old < len(a.recent) && now.Sub(a.recent[old]) >= time.Second {
		old++
	}
	a.recent = append(a.recent[old:], now)
	a.now++
	a.asked.all++
	a.asked.inSecond = max(a.asked.inSecond, len(a.recent))
	a.asked.atOnce = max(a.asked.atOnce, a.now)
}

func (a *application) done() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now--
}

func (a *application) pace() pace {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// await returns when it is asked again.
func (a *application) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for before := a.pace().all; a.pace().all == before; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("no application is asked, and transactions are due")
		}
	}
	return nil
}
