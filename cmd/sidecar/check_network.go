package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/push"
)

// lookAtListeners tells a running sidecar from a free address and from a stranger.
func lookAtListeners(ctx context.Context, f *findings, l *config.Loaded) {
	for _, addr := range l.Listen.Data {
		lookAtListener(ctx, f, addr)
	}
	lookAtWatcher(ctx, f, "listen.admin", l.Listen.Admin)
	lookAtWatcher(ctx, f, "listen.health", l.Listen.Health)
}

// lookAtWatcher looks at a listener for operators, by its key.
func lookAtWatcher(ctx context.Context, f *findings, key, addr string) {
	const section = "listeners"
	side, err := newClient("http://"+addr, "")
	if err != nil {
		f.badf(section, "correct "+key, "%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	r, err := side.do(ctx, http.MethodHead, "/", nil, nil)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		f.okf(section, "%s is free for %s", addr, key)
	case err == nil && r.header.Get("X-Content-Type-Options") == "nosniff":
		f.okf(section, "a sidecar runs at %s (%s)", addr, key)
		if key == "listen.health" {
			lookAtConditions(ctx, f, side)
		}
	default:
		f.badf(section, "stop what listens there, or change "+key, "something else answers at %s (%s)", addr, key)
	}
}

func lookAtListener(ctx context.Context, f *findings, addr string) {
	const section = "listeners"
	base := addr
	if !strings.HasPrefix(addr, "unix://") {
		base = "http://" + addr
	}
	side, err := newClient(base, "")
	if err != nil {
		f.badf(section, "correct listen.data", "%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var status struct {
		State   string `json:"state"`
		Version string `json:"version"`
	}
	err = side.get(ctx, "/v1/status", &status)
	refused := refusal{}
	switch {
	case err == nil && status.State != "":
		f.okf(section, "a sidecar runs at %s: %s, version %s", addr, status.State, status.Version)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		f.okf(section, "%s is free", addr)
	case errors.As(err, &refused) && refused.status == http.StatusUnauthorized:
		f.okf(section, "a sidecar that asks for a token runs at %s", addr)
	default:
		f.badf(section, "stop what listens there, or change listen.data", "something else answers at %s", addr)
	}
}

func lookAtHandlers(ctx context.Context, f *findings, l *config.Loaded) {
	for _, s := range l.Subscriptions {
		if s.Handler == "" {
			f.okf("subscriptions", "%s: its messages are pulled", s.Name)
			continue
		}
		addr, err := hostPort(s.Handler)
		if err == nil {
			err = dial(ctx, addr)
		}
		if err != nil {
			f.badf("subscriptions", "start the application, or correct the handler; its messages wait at the broker", "%s: handler %s: %v", s.Name, s.Handler, err)
			continue
		}
		f.okf("subscriptions", "%s: handler %s can be reached", s.Name, s.Handler)
		lookAtReadiness(ctx, f, s)
	}
}

func lookAtReadiness(ctx context.Context, f *findings, s config.Subscription) {
	if s.Readiness == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := push.NewReadiness(s.Readiness, "remora/"+version).Ask(ctx); err != nil {
		f.badf("subscriptions", "see why the application is not ready, or correct readiness; its messages wait at the broker", "%s: readiness: %v", s.Name, err)
		return
	}
	f.okf("subscriptions", "%s: %s says that the application is ready", s.Name, s.Readiness)
}

func hostPort(handler string) (string, error) {
	u, err := url.Parse(handler)
	if err != nil {
		return "", fmt.Errorf("read the handler's URL: %w", err)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

func dial(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}
