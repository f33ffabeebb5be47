package admin

import (
	"embed"
	"net/http"
	"path"

	"github.com/remora-mq/remora/internal/problem"
)

// ui is the console: a page that reads the API beside it, and changes nothing. It is
// served as it lies here, with no build step.
//
//go:embed ui
var ui embed.FS

// consolePolicy lets the page load nothing but what is in ui, ask nobody but the
// sidecar, and be framed by no one.
const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// routeConsole is no part of the API, nor of its description.
func routeConsole(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { serveUI(w, "index.html") })
	mux.HandleFunc("GET /ui/{file}", func(w http.ResponseWriter, r *http.Request) { serveUI(w, r.PathValue("file")) })
}

// opensConsole reports a link to the console that somebody followed in a browser, from
// whatever page: it shows the console and tells that page nothing.
func opensConsole(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

func serveUI(w http.ResponseWriter, name string) {
	body, err := ui.ReadFile(path.Join("ui", path.Base(name)))
	if err != nil {
		writeProblem(w, problem.New(problem.NoSuchPath, "the console has no file of this name"))
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", consolePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	write(w, http.StatusOK, types[path.Ext(name)], body)
}

// types are those of the files in ui: the machine's table may know others.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}
