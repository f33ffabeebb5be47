package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Password of MariaDB's user remora.
const Password = "g/h:e@im"

// MariaDB starts one with the database remora and the user remora, who has
// Password; so has the user operator, who may set read_only. It syncs each commit.
func MariaDB(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "mariadb")
	program := find(t, "mariadbd", "mariadb-server", "/usr/sbin/mariadbd")
	install := find(t, "mariadb-install-db", "mariadb-server")
	as, data := s.as("mysql"), filepath.Join(s.dir, "data")
	cmd := exec.Command(install, "--no-defaults", "--datadir="+data, "--skip-test-db", "--innodb-log-file-size=8M", "--innodb-use-native-aio=0",
		"--tmpdir="+s.dir) // whoever starts deletes there what another one uses
	cmd.Dir, cmd.SysProcAttr = s.dir, as
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v: %s", err, said)
	}
	first := filepath.Join(s.dir, "first.sql")
	text := "CREATE DATABASE IF NOT EXISTS remora;\nCREATE USER IF NOT EXISTS remora@'%' IDENTIFIED BY '" + Password +
		"';\nGRANT ALL ON remora.* TO remora@'%';\nGRANT SUPER ON *.* TO remora@'%';\n" +
		"CREATE USER IF NOT EXISTS operator@'%' IDENTIFIED BY '" + Password + "';\nGRANT READ_ONLY ADMIN ON *.* TO operator@'%';\nGRANT ALL ON remora.* TO operator@'%';\n"
	if err := os.WriteFile(first, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.command = func() *exec.Cmd {
		cmd := exec.Command(program, "--no-defaults", "--datadir="+data, "--bind-address=127.0.0.1", "--port="+s.port,
			"--socket="+filepath.Join(s.dir, "socket"), "--pid-file="+filepath.Join(s.dir, "pid"), "--init-file="+first,
			"--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--skip-name-resolve",
			"--tmpdir="+s.dir, "--innodb-use-native-aio=0") // of which a machine has few
		cmd.SysProcAttr = as
		return cmd
	}
	// It greets, by protocol 10, when first.sql has run.
	s.ready = func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr())
		if err != nil {
			return err
		}
		defer c.Close()
		greeting := make([]byte, 5)
		if _, err = io.ReadFull(c, greeting); err == nil && greeting[4] != 10 {
			err = fmt.Errorf("it greets by protocol %d", greeting[4])
		}
		return err
	}
	return s.run()
}
