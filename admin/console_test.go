package admin

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
)

// The console's model is tested in its own language.
func TestConsoleModel(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v: .ci/deps installs it", err)
	}
	out, err := exec.CommandContext(t.Context(), node, "--test", "testdata").CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^# pass [1-9]`).Match(out) {
		t.Errorf("%v: %s", err, out)
	}
}

// console asks for a path of the admin listener, as a browser does.
func console(t *testing.T, method, target, host string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	r.Host = host
	w := httptest.NewRecorder()
	New(Options{Tokens: []string{strings.Repeat("t", 32)}}, Sources{}).Handler().ServeHTTP(w, r)
	return w
}

// The page and all that it loads are served, to whom the listener answers, with a
// policy under which nothing else can be loaded or run.
func TestConsoleIsServed(t *testing.T) {
	files, err := ui.ReadDir("ui")
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]string{"/": ".html"}
	for _, f := range files {
		targets["/ui/"+f.Name()] = path.Ext(f.Name())
	}
	for target, kind := range targets {
		for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 401} {
			res := console(t, method, target, "127.0.0.1:7601")
			if res.Code != want || want == 200 && (res.Header().Get("Content-Security-Policy") != consolePolicy || res.Header().Get("Content-Type") != types[kind] || res.Header().Get("X-Content-Type-Options") != "nosniff") {
				t.Errorf("%s %s: %d %v", method, target, res.Code, res.Header())
			}
		}
		if res := console(t, "GET", target, "evil.example"); res.Code != http.StatusMisdirectedRequest {
			t.Errorf("%s, to a host that is not ours: %d", target, res.Code)
		}
	}
	for _, target := range []string{"/index.html", "/none", "/ui/", "/ui/none.js", "/ui/..%2Fconsole.go", "/ui/ui"} {
		if res := console(t, "GET", target, "localhost:7601"); res.Code != http.StatusNotFound || res.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", target, res.Code, res.Header().Get("Content-Type"))
		}
	}
}

// TestConsolePolicy: a page that another could frame, or that could load or ask what is not
// ours, would hand out what the console reads.
func TestConsolePolicy(t *testing.T) {
	for _, target := range []string{"/", "/ui/console.js"} {
		h := console(t, "GET", target, "localhost:7601").Header()
		policy := map[string]string{}
		for rule := range strings.SplitSeq(h.Get("Content-Security-Policy"), ";") {
			name, sources, _ := strings.Cut(strings.TrimSpace(rule), " ")
			policy[name] = sources
		}
		for name, want := range map[string]string{
			"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
			"base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
		} {
			if policy[name] != want {
				t.Errorf("%s: %s is %q, want %q", target, name, policy[name], want)
			}
			delete(policy, name)
		}
		if len(policy) > 0 {
			t.Errorf("%s: the policy also has %v", target, policy)
		}
		if got := h.Get("Referrer-Policy") + " " + h.Get("Cross-Origin-Opener-Policy"); got != "no-referrer same-origin" {
			t.Errorf("%s: %s", target, got)
		}
	}
}

// A link on another page leads to the console. No other page can frame it, or ask.
func TestConsoleIsLinkedTo(t *testing.T) {
	for _, c := range []struct {
		method, target, mode, dest string
		want                       int
	}{
		{"GET", "/", "navigate", "document", 200},
		{"GET", "/", "navigate", "iframe", 403},
		{"GET", "/", "no-cors", "script", 403},
		{"GET", "/", "no-cors", "document", 403},
		{"POST", "/", "navigate", "document", 403},
		{"GET", "/v1/ledger", "navigate", "document", 403},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.target, http.NoBody)
		r.Host = "localhost:7601"
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", c.mode)
		r.Header.Set("Sec-Fetch-Dest", c.dest)
		w := httptest.NewRecorder()
		New(Options{}, Sources{}).Handler().ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: %d", c, w.Code)
		}
	}
}

// read returns a file of the console.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := ui.ReadFile("ui/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the policy would refuse is not in the page: scripts and styles within it, and
// what lies elsewhere. All text gets there as text.
func TestConsoleKeepsToItsPolicy(t *testing.T) {
	page := read(t, "index.html")
	for what, found := range map[string]*regexp.Regexp{
		"a script or style within the page": regexp.MustCompile(`<style|<script(?:[^>]*[^>c])?>[^<]|\son[a-z]+=|\sstyle=`),
		"something of another host":         regexp.MustCompile(`(?:src|href)="(?:[a-z]+:|//)`),
	} {
		if got := found.FindString(page); got != "" {
			t.Errorf("%s: %s", what, got)
		}
	}
	for _, ref := range regexp.MustCompile(`(?:src|href)="/ui/([^"]+)"`).FindAllStringSubmatch(page, -1) {
		read(t, ref[1])
	}
	if got := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(`).FindString(read(t, "console.js") + read(t, "model.js")); got != "" {
		t.Errorf("%s takes text for markup", got)
	}
	for _, id := range regexp.MustCompile(`(?:\bat|fill)\("([a-z-]+)"`).FindAllStringSubmatch(read(t, "console.js"), -1) {
		if !strings.Contains(page, ` id="`+id[1]+`"`) {
			t.Errorf("the page has no %s", id[1])
		}
	}
}
