package httpguard_test

import (
	"net"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/httpguard"
)

func TestHosts(t *testing.T) {
	rules := httpguard.NewRules([]string{"Sidecar.internal", "10.0.0.5:7600"}, nil)
	cases := map[string]bool{
		"localhost": true, "localhost:7600": true, "LOCALHOST:1": true, "127.0.0.1:7600": true, "127.1.2.3": true,
		"[::1]": true, "[::1]:7600": true, "[::ffff:127.0.0.1]:80": true, "localhost:": true,
		"sidecar.internal": true, "sidecar.internal:9": true, "10.0.0.5:7600": true,
		"": false, "10.0.0.5": false, "10.0.0.5:7601": false, "evil.example": false, "evil.example:7600": false,
		"localhost.evil.example": false, "evil.localhost": false, "localhost@evil.example": false, "evil@localhost": false,
		"localhost:80:80": false, "::1": false, "[::1": false, "[::1]x": false, "0.0.0.0": false, "[::]": false,
		"127.0.0.1.evil.example": false, "2130706433": false, "localhost/": false, "localhost evil": false,
		"[localhost]evil:80": false, "[::1%25eth0]": false, "169.254.169.254": false,
	}
	for host, allowed := range cases {
		got := rules.Check(httpguard.Request{Method: "POST", Host: host})
		if (got == nil) != allowed {
			t.Errorf("Host %q: %v, allowed should be %t", host, got, allowed)
		}
		if got != nil && got.Status != 421 {
			t.Errorf("Host %q: status %d, want 421", host, got.Status)
		}
	}
}

func TestBrowserShapedRequests(t *testing.T) {
	rules := httpguard.NewRules(nil, []string{"http://localhost:3000/"})
	cases := []struct {
		name string
		req  httpguard.Request
		code string
	}{
		{"no browser", httpguard.Request{Method: "POST"}, ""},
		{"allowed origin", httpguard.Request{Method: "POST", Origin: "http://localhost:3000", SecFetchSite: "cross-site"}, ""},
		{"other origin", httpguard.Request{Method: "POST", Origin: "http://evil.example"}, "forbidden-origin"},
		{"other port", httpguard.Request{Method: "POST", Origin: "http://localhost:3001"}, "forbidden-origin"},
		{"opaque origin", httpguard.Request{Method: "POST", Origin: "null"}, "forbidden-origin"},
		{"cross-site image", httpguard.Request{Method: "GET", SecFetchSite: "cross-site"}, "forbidden-origin"},
		{"image of a page at another port", httpguard.Request{Method: "GET", SecFetchSite: "same-site"}, "forbidden-origin"},
		{"allowed page at another port", httpguard.Request{Method: "GET", Origin: "http://localhost:3000", SecFetchSite: "same-site"}, ""},
		{"typed address", httpguard.Request{Method: "GET", SecFetchSite: "none"}, ""},
		{"own page", httpguard.Request{Method: "GET", SecFetchSite: "same-origin"}, ""},
		{"preflight", httpguard.Request{Method: "OPTIONS"}, "preflight-refused"},
		{"preflight of an allowed origin", httpguard.Request{Method: "OPTIONS", Origin: "http://localhost:3000"}, "preflight-refused"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.req.Host = "localhost"
			got := rules.Check(c.req)
			switch {
			case c.code == "" && got != nil:
				t.Errorf("refused: %v", got)
			case c.code != "" && (got == nil || got.Code != c.code || got.Status != 403):
				t.Errorf("got %v, want 403 %s", got, c.code)
			}
		})
	}
}

func TestRefusalRepeatsOnlyTheBeginning(t *testing.T) {
	got := httpguard.NewRules(nil, nil).Check(httpguard.Request{Host: strings.Repeat("x", 10_000)})
	if got == nil || len(got.Detail) > 300 {
		t.Errorf("detail repeats the whole host: %v", got)
	}
}

func TestTokens(t *testing.T) {
	none, two := httpguard.NewTokens([]string{""}), httpguard.NewTokens([]string{"old", "new"})
	if none.Required() || none.Check("") != nil {
		t.Error("no token configured, yet one is asked for")
	}
	for auth, ok := range map[string]bool{
		"Bearer old": true, "Bearer new": true, "bearer new": true, "Bearer  new": true,
		"": false, "new": false, "Bearer": false, "Bearer ": false, "Bearer newer": false, "Bearer ne": false,
		"Basic new": false, "Bearer old new": false,
	} {
		got := two.Check(auth)
		if (got == nil) != ok {
			t.Errorf("Authorization %q: %v, want ok %t", auth, got, ok)
		}
		if got != nil && (got.Status != 401 || strings.Contains(got.Detail, "new")) {
			t.Errorf("Authorization %q: %d %q", auth, got.Status, got.Detail)
		}
	}
}

func TestExposed(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": false, "::1": false, "0.0.0.0": true, "::": true, "10.1.2.3": true} {
		if got := httpguard.Exposed(&net.TCPAddr{IP: net.ParseIP(addr)}); got != want {
			t.Errorf("Exposed(%s) = %t, want %t", addr, got, want)
		}
	}
	if httpguard.Exposed(&net.UnixAddr{Name: "/run/x.sock", Net: "unix"}) {
		t.Error("a unix socket counts as exposed")
	}
}
