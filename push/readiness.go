package push

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Readiness asks an application whether it is ready to get messages. Methods may be
// called from many goroutines.
type Readiness struct {
	url, userAgent string
	client         *http.Client
}

// NewReadiness makes no connection. Each question has one of its own, so that what
// is asked is whether the application takes connections, too.
func NewReadiness(url, userAgent string) *Readiness {
	return &Readiness{url, userAgent, &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Ask returns nil when a GET was answered with a 2xx before ctx was done. Redirects
// are not followed. The body is not read.
func (r *Readiness) Ask(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", r.userAgent)
	res, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // of it nothing is wanted
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%s answered %s", r.url, res.Status)
	}
	return nil
}
