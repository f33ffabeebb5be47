package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/internal/heap"
)

// Kind is which server.
type Kind string

// The kinds.
const (
	Remora  Kind = "remora"
	NoStore Kind = "nostore"
	Held    Kind = "held" // remora, with a broker that refuses until POST /open, and again after POST /close
)

// String is how the report calls it.
func (k Kind) String() string {
	if k == NoStore {
		return "server without storing"
	}
	return string(k)
}

// Hello is said when the server listens.
type Hello struct {
	Addr   string `json:"addr"`
	Inside string `json:"inside"` // where net/http/pprof and /commits listen
}

// storage is what is behind the listener.
type storage interface {
	httpapi.Spool
	commits() Commits
	// close waits until all is forwarded, closes, and tells what was accepted.
	close(ctx context.Context) (Account, error)
}

// drainFor bounds how long what was accepted may take to be forwarded.
const drainFor = 30 * time.Second

// Run serves until ctx is done, then drains and closes.
func Run(ctx context.Context, kind Kind, dir string, out io.Writer) error {
	heap.Bound()
	var memory sync.WaitGroup
	defer memory.Wait()
	serving, served := context.WithCancel(ctx)
	defer served()
	memory.Go(func() { heap.GiveBack(serving) })
	store, err := open(ctx, kind, dir)
	if err != nil {
		return fmt.Errorf("serve %s: %w", kind, err)
	}
	options := httpapi.Options{Version: "bench", BrokerType: "null", CheckURLs: askedAt}
	options.Transactions, _ = store.(httpapi.Transactions) // a server without storing has none
	err = listen(ctx, httpapi.New(options, store), store, out)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	account, closeErr := store.close(drain)
	if err := errors.Join(err, closeErr); err != nil {
		return fmt.Errorf("serve %s: %w", kind, err)
	}
	return json.NewEncoder(out).Encode(account)
}

func open(ctx context.Context, kind Kind, dir string) (storage, error) {
	switch kind {
	case Remora:
		return openSpooled(ctx, dir)
	case NoStore:
		return &unstored{}, nil
	case Held:
		return openHeld(ctx, dir)
	}
	return nil, fmt.Errorf("there is no such kind of server: %q", string(kind))
}

// listen serves on free ports of the loopback address until ctx is done.
func listen(ctx context.Context, api *httpapi.Server, store storage, out io.Writer) error {
	data, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, data.Close())
	}
	inside := &http.Server{Handler: insideOf(store), ReadHeaderTimeout: time.Second}
	failed := make(chan error, 2)
	go func() { failed <- api.Serve(data) }()
	go func() { failed <- inside.Serve(inner) }()
	err = json.NewEncoder(out).Encode(Hello{Addr: data.Addr().String(), Inside: inner.Addr().String()})
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
	defer cancel()
	return errors.Join(err, api.Shutdown(stop), inside.Close())
}

// insideOf lets the parent look at the server while it works.
func insideOf(store storage) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/commits", func(w http.ResponseWriter, _ *http.Request) { answer(w, store.commits()) })
	if h, ok := store.(*held); ok {
		h.handle(mux)
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	return mux
}

func answer(w io.Writer, v any) {
	_ = json.NewEncoder(w).Encode(v) // the parent may be gone
}
