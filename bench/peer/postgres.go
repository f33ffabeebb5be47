package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/proc"
)

// Postgres inserts rows into an outbox, a transaction a message, each committed
// before it answers. It comes with Debian's postgresql.
type Postgres struct {
	Connections int // at most
}

// Name says what is done.
func (Postgres) Name() string { return "postgresql outbox row, committed" }

// outbox is what applications have that do without a sidecar.
const outbox = `CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	topic text NOT NULL, body bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`

// Start returns when the table is there.
func (p Postgres) Start(ctx context.Context, dir string) (Running, error) {
	program, err := find("postgres", "apt-get install postgresql", "/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, program)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	as, err := ordinaryUser(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := initDB(ctx, program, data, as); err != nil {
		return nil, err
	}
	r := &postgres{addr: loopback(port)}
	cmd := exec.Command(program, p.settings(data, port)...)
	cmd.Dir, cmd.SysProcAttr = dir, as
	if r.daemon, err = startDaemon(ctx, cmd, dir, r.answers); err != nil {
		return nil, err
	}
	r.version = version
	if err := r.do(ctx, outbox); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// settings are the defaults, which sync each commit, but for the door.
func (p Postgres) settings(data string, port int) []string {
	const spare = 10 // for those that look on, and for ends that are not noticed yet
	return []string{
		"-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port=" + strconv.Itoa(port),
		"-c", "unix_socket_directories=", "-c", "max_connections=" + strconv.Itoa(p.Connections+spare),
	}
}

// initDB makes a cluster with the superuser bench, whom it lets in unasked.
func initDB(ctx context.Context, postgres, data string, as *syscall.SysProcAttr) error {
	real, err := filepath.EvalSymlinks(postgres)
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(real), "initdb")
	cmd := exec.CommandContext(ctx, program, "-D", data, "-U", pgUser, "--auth=trust", "--encoding=UTF8", "--locale=C")
	cmd.Dir, cmd.SysProcAttr = filepath.Dir(data), as
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, said[max(0, len(said)-500):])
	}
	return nil
}

// ordinaryUser gives dir to the user postgres when we are root, as whom the
// server refuses to run.
func ordinaryUser(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nothing has to be changed
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("postgres does not run as root: %w: make one, or be another user", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return as, os.Chown(dir, int(uid), int(gid))
}

type postgres struct {
	*daemon
	addr string
}

func (p *postgres) Dial(ctx context.Context) (load.Client, error) {
	c, err := dialPG(ctx, p.addr)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (p *postgres) answers(ctx context.Context) error { return p.do(ctx, "SELECT 1") }

// Forget empties the table, and does the work that was put off to a checkpoint.
func (p *postgres) Forget(ctx context.Context) error {
	if err := p.do(ctx, "TRUNCATE outbox"); err != nil {
		return err
	}
	if err := p.do(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	return proc.Quiet(ctx, p.PID(), grace)
}

// do runs one statement over a connection of its own.
func (p *postgres) do(ctx context.Context, statement string) error {
	c, err := dialPG(ctx, p.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer closeWhenDone(ctx, c)()
	return c.do(statement)
}
