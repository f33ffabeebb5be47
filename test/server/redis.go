package server

import (
	"context"
	"crypto/tls"
	"os/exec"
	"testing"
)

// Redis starts one that has every command on its disk before it answers, unless
// settings, as --appendfsync everysec, say otherwise.
func Redis(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := newServer(t, "redis")
	program := find(t, "redis-server", "redis-server")
	s.command = func() *exec.Cmd {
		args := []string{
			"--bind", "127.0.0.1", "--port", s.port, "--dir", s.dir, "--save", "",
			"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
		}
		return exec.Command(program, append(args, settings...)...)
	}
	// One that has a password is up, too; one that still loads its log is not.
	s.ready = func(ctx context.Context) error { return says(ctx, s.Addr(), "PING\r\n", "+PONG", "-NOAUTH") }
	return s.run()
}

// RedisTLS is Redis that speaks TLS only, and wants a certificate of its clients.
// The files are in PEM.
func RedisTLS(t testing.TB, cert, key, ca string, client *tls.Config) *Server {
	t.Helper()
	s := newServer(t, "redis")
	program := find(t, "redis-server", "redis-server")
	s.command = func() *exec.Cmd {
		return exec.Command(program, "--bind", "127.0.0.1", "--port", "0", "--tls-port", s.port, "--dir", s.dir, "--save", "",
			"--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca)
	}
	s.ready = func(ctx context.Context) error {
		c, err := (&tls.Dialer{Config: client}).DialContext(ctx, "tcp", s.Addr())
		if err != nil {
			return err
		}
		return c.Close()
	}
	return s.run()
}
