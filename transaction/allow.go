package transaction

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Allowed are the addresses that may be asked: patterns as http://127.0.0.1:*, with a
// scheme, a host, a port or * for any, and maybe a path, below which all is allowed.
// What matches none is refused, so an empty one allows nothing.
type Allowed []string

// Check refuses an address that cannot be asked, or may not be.
func (a Allowed) Check(address string) error {
	u, err := parse(address)
	if err != nil {
		return err
	}
	if u.Port() == "*" {
		return fmt.Errorf("%.100q has no port", address)
	}
	for _, pattern := range a {
		if p, err := parse(pattern); err == nil && matches(p, u) {
			return nil
		}
	}
	return fmt.Errorf("%.100q matches none of transactions.check_urls: %s", address, strings.Join(a, ", "))
}

// Validate refuses a pattern that cannot be meant.
func (a Allowed) Validate() error {
	for _, pattern := range a {
		if _, err := parse(pattern); err != nil {
			return err
		}
	}
	return nil
}

// parse takes an address apart. A port * is none that a URL may have.
func parse(address string) (*url.URL, error) {
	text, anyPort := anyPortOf(address)
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%.100q is no URL", address)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, fmt.Errorf("%.100q has not the form http://host:port/path", address)
	case u.User != nil || u.Fragment != "" || strings.Contains(u.Hostname(), "*"):
		return nil, fmt.Errorf("%.100q has a user, a fragment, or a * in its host", address)
	case leadsElsewhere(u.Path):
		return nil, errors.New("its path has dots or a backslash, which lead elsewhere")
	}
	if anyPort {
		u.Host = u.Hostname() + ":*"
	}
	return u, nil
}

// leadsElsewhere reports a path that a server may take for another one: with segments of
// dots, which some recognise before a ';' too, or with backslashes, which some turn.
func leadsElsewhere(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return true
		}
	}
	return strings.Contains(path, `\`)
}

// anyPortOf takes a port * off.
func anyPortOf(address string) (text string, anyPort bool) {
	scheme, rest, ok := strings.Cut(address, "://")
	host, path, _ := strings.Cut(rest, "/")
	if !ok || !strings.HasSuffix(host, ":*") {
		return address, false
	}
	return scheme + "://" + strings.TrimSuffix(host, ":*") + "/" + path, true
}

func matches(p, u *url.URL) bool {
	ports := map[string]string{"http": "80", "https": "443"}
	port := func(u *url.URL) string {
		if u.Port() == "" {
			return ports[u.Scheme]
		}
		return u.Port()
	}
	path := strings.TrimSuffix(p.EscapedPath(), "/")
	anyPort := strings.HasSuffix(p.Host, ":*")
	return p.Scheme == u.Scheme && strings.EqualFold(hostname(p), u.Hostname()) && (anyPort || port(p) == port(u)) &&
		(u.EscapedPath() == path || strings.HasPrefix(u.EscapedPath(), path+"/") || path == "")
}

// hostname is without a port, which may be *.
func hostname(p *url.URL) string {
	return strings.Trim(strings.TrimSuffix(p.Hostname(), ":*"), "[]")
}
