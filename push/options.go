package push

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Options say whom to call, and how.
type Options struct {
	// URL of the handler: http or https, an absolute URL without credentials.
	URL string
	// AckStatuses are the statuses that mean done; empty: 200 only. Each is a
	// 2xx other than 202, which promises nothing.
	AckStatuses []int
	// Remote allows handlers that are not on a loopback address.
	Remote bool
	// MaxIdle is how many connections are kept for reuse; 0: 64.
	MaxIdle int
	// IdleTimeout is how long a connection is kept for reuse; 0: 30 s.
	IdleTimeout time.Duration
	// DialTimeout bounds name lookup, connect and TLS handshake; 0: 5 s.
	DialTimeout time.Duration
	// TLS is used for https; nil: the system's roots.
	TLS *tls.Config
	// UserAgent of the requests; "": remora.
	UserAgent string
	// Signer signs each call; nil: none is signed.
	Signer *Signer
	// Logger is told when the signer's file cannot be read any more; nil: nobody.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if len(o.AckStatuses) == 0 {
		o.AckStatuses = []int{200}
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = 64
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 30 * time.Second
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 5 * time.Second
	}
	if o.UserAgent == "" {
		o.UserAgent = "remora"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() (*url.URL, error) {
	for _, s := range o.AckStatuses {
		if s < 200 || s > 299 || s == 202 {
			return nil, fmt.Errorf("ack status %d: only a 2xx other than 202 can mean that a message is done", s)
		}
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("handler URL: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("handler URL %q: the scheme must be http or https", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("handler URL %q has no host", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("handler URL %q carries credentials; they are not supported", u.Redacted())
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return u, o.allowed(ip)
	}
	return u, nil
}

// errForbidden is an address that a handler must not have.
var errForbidden = errors.New("not an address for a handler")

// metadataV6 is a cloud's metadata service; 169.254.169.254 is link-local.
var metadataV6 = netip.MustParseAddr("fd00:ec2::254")

// allowed keeps the sidecar from being turned against the metadata service of
// a cloud, or against other hosts, by a name that resolves there.
func (o Options) allowed(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLoopback():
		return nil
	case !o.Remote:
		return fmt.Errorf("%w: %s is not on loopback; run the handler beside the sidecar, or allow remote handlers", errForbidden, ip)
	case !ip.IsGlobalUnicast() || ip == metadataV6:
		return fmt.Errorf("%w: %s", errForbidden, ip)
	}
	return nil
}

// control is asked with the very address that is connected to, after the name
// was resolved.
func (o Options) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("check address %q: %w", address, err)
	}
	return o.allowed(ap.Addr())
}

func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func tlsConfig(o Options, u *url.URL) *tls.Config {
	if u.Scheme != "https" {
		return nil
	}
	cfg := &tls.Config{}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName = strings.TrimSuffix(u.Hostname(), ".")
	}
	cfg.NextProtos = []string{"http/1.1"}
	return cfg
}
