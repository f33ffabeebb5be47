package server

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
)

// Postgres starts one with the database postgres and the superuser remora, whom it
// lets in unasked. It syncs each commit.
func Postgres(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "postgres")
	program := find(t, "postgres", "postgresql", "/usr/lib/postgresql/*/bin/postgres")
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		t.Fatal(err)
	}
	as, data := s.as("postgres"), filepath.Join(s.dir, "data")
	cmd := exec.Command(filepath.Join(filepath.Dir(real), "initdb"),
		"-D", data, "-U", "remora", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	cmd.Dir, cmd.SysProcAttr = s.dir, as
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, said)
	}
	s.command = func() *exec.Cmd {
		cmd := exec.Command(program, "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port="+s.port,
			"-c", "unix_socket_directories=", "-c", "shared_buffers=16MB")
		cmd.SysProcAttr = as
		return cmd
	}
	// A server that starts, or mends itself, answers otherwise than 0.
	s.ready = func(ctx context.Context) error {
		return exec.CommandContext(ctx, filepath.Join(filepath.Dir(real), "pg_isready"), "-q", "-h", "127.0.0.1", "-p", s.port).Run()
	}
	return s.run()
}
