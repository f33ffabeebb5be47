package httpguard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// Rules are the hosts and origins of one listener.
type Rules struct {
	hosts   map[string]bool
	origins map[string]bool
}

// NewRules returns rules that allow loopback names, hosts (a name or address,
// with or without a port; without one, any port matches), and the browser
// origins given, as "http://localhost:3000".
func NewRules(hosts, origins []string) *Rules {
	r := &Rules{hosts: map[string]bool{}, origins: map[string]bool{}}
	for _, h := range hosts {
		r.hosts[strings.ToLower(h)] = true
	}
	for _, o := range origins {
		r.origins[strings.ToLower(strings.TrimSuffix(o, "/"))] = true
	}
	return r
}

// Request is what the rules look at. Absent headers are "".
type Request struct {
	Method       string
	Host         string
	Origin       string
	SecFetchSite string
}

// Check returns nil when the request may pass. A CORS preflight never may:
// no listener answers across origins.
func (r *Rules) Check(req Request) *problem.Problem {
	switch {
	case !r.hostAllowed(req.Host):
		return problem.New(problem.MisdirectedRequest, "the Host %q is neither loopback nor configured", clip(req.Host))
	case req.Origin != "" && !r.origins[strings.ToLower(req.Origin)]:
		return problem.New(problem.ForbiddenOrigin, "the origin %q is not allowed", clip(req.Origin))
	case req.Origin == "" && isForeign(req.SecFetchSite):
		return problem.New(problem.ForbiddenOrigin, "a browser sent this request for a page of another origin")
	case req.Method == http.MethodOptions:
		return problem.New(problem.PreflightRefused, "OPTIONS is not answered")
	}
	return nil
}

// isForeign reports a Sec-Fetch-Site of a page of another origin. Of the same site is any
// page at localhost, whatever its port: with an image it could have the spool counted.
func isForeign(secFetchSite string) bool {
	return strings.EqualFold(secFetchSite, "cross-site") || strings.EqualFold(secFetchSite, "same-site")
}

func (r *Rules) hostAllowed(hostport string) bool {
	if isPlain(hostport) {
		return true
	}
	lower := strings.ToLower(hostport)
	host, ok := hostOf(lower)
	return ok && (isLoopback(host) || r.hosts[host] || r.hosts[lower])
}

// isPlain reports what nearly all clients send: it spares them the rest.
func isPlain(hostport string) bool {
	host, port, _ := strings.Cut(hostport, ":")
	if host != "127.0.0.1" && host != "localhost" || len(port) > 5 {
		return false
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return true
}

// hostOf cuts off the port. It refuses what only looks like a host, as
// "localhost@evil.example" and "localhost:80:80".
func hostOf(hostport string) (host string, ok bool) {
	host, port := hostport, ""
	if i := strings.LastIndexByte(hostport, ':'); i >= 0 && !strings.HasSuffix(hostport, "]") {
		host, port = hostport[:i], hostport[i+1:]
	}
	if strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return "", false
	}
	if inner, isV6 := strings.CutPrefix(host, "["); isV6 {
		return strings.CutSuffix(inner, "]")
	}
	return host, !strings.ContainsAny(host, ":@/\\%[] ")
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.Unmap().IsLoopback()
}

// Exposed reports whether others than this machine can reach a listener: it is
// bound to a TCP address that is not loopback.
func Exposed(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}

// clip bounds what a refusal repeats of a request.
func clip(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
