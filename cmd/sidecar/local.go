package main

import (
	"io"
	"net/http"
	"sync"
)

// local answers requests by a handler in this process, without a connection. The
// body streams: an export is as large as the spool.
type local struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper. It returns with the header; the
// handler's goroutine ends with the body.
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	in, out := io.Pipe()
	w := &localWriter{header: http.Header{}, out: out, began: make(chan struct{})}
	if r.Body == nil {
		r.Body = http.NoBody // as a server's request has
	}
	go func() {
		defer func() {
			var err error
			if recover() != nil { // http.ErrAbortHandler, as a server meets it
				err = io.ErrUnexpectedEOF
			}
			w.WriteHeader(http.StatusOK)
			_ = out.CloseWithError(err) // never fails
		}()
		l.handler.ServeHTTP(w, r)
	}()
	<-w.began
	return &http.Response{
		StatusCode: w.status, Header: w.header, Body: in, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
	}, nil
}

type localWriter struct {
	header http.Header
	out    *io.PipeWriter
	status int
	once   sync.Once
	began  chan struct{}
}

func (w *localWriter) Header() http.Header { return w.header }

func (w *localWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		close(w.began)
	})
}

func (w *localWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(b)
}
