package push

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestReadiness(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("User-Agent") != "remora/x" {
			t.Errorf("asked by %s of %s", r.Method, r.Header.Get("User-Agent"))
		}
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "/ready", http.StatusFound)
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/hangs":
			<-r.Context().Done()
		case "/nothing":
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer app.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for url, want := range map[string]string{
		app.URL + "/ready": "", app.URL + "/nothing": "",
		app.URL + "/busy": "503 Service Unavailable", app.URL + "/away": "302 Found", gone.URL: "refused", app.URL + "/hangs": "deadline exceeded",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if strings.HasSuffix(url, "/hangs") {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		err := NewReadiness(url, "remora/x").Ask(ctx)
		cancel()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
