package peer

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDaemonThatEndsSaysWhy(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo no room >&2; exit 3")
	refused := func(context.Context) error { return errors.New("refused") }
	d, err := startDaemon(t.Context(), cmd, t.TempDir(), refused)
	if err == nil {
		_ = d.Stop()
		t.Fatal("no error")
	}
	for _, want := range []string{"ended at once", "no room", "exit status 3"} {
		failsWith(t, err, want)
	}
}

func TestDaemonThatNeverAnswersIsEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	refused := func(context.Context) error { cancel(); return errors.New("refused") }
	cmd := exec.Command("sleep", "600")
	_, err := startDaemon(ctx, cmd, t.TempDir(), refused)
	failsWith(t, err, "refused")
	if cmd.ProcessState == nil {
		t.Error("it still runs")
	}
}

func TestFindTakesTheHighestVersion(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"9", "15", "16"} {
		if err := os.MkdirAll(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "postgres"), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	got, err := find("postgres", "install it", filepath.Join(dir, "*", "postgres"))
	if err != nil || got != filepath.Join(dir, "16", "postgres") {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = find("no-such-program-at-all", "apt-get install it", filepath.Join(dir, "*", "none"))
	failsWith(t, err, "apt-get install it")
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(5)
	if err != nil || len(slices.Compact(slices.Sorted(slices.Values(ports)))) != 5 {
		t.Errorf("got %v, %v", ports, err)
	}
}

// TestOnlyTheLoopbackIsOpened holds what peers are told to listen on.
func TestOnlyTheLoopbackIsOpened(t *testing.T) {
	settings := slices.Concat(redisSettings(1, "/d", "always"), rabbitSettings("/d", []int{1, 2, 3}),
		Postgres{}.settings("/d", 1), []string{natsSettings, loopback(1)})
	text := strings.Join(settings, " ")
	for _, want := range []string{
		"--bind 127.0.0.1", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "inet_dist_use_interface {127,0,0,1}",
		"ERL_EPMD_ADDRESS=127.0.0.1", "listen_addresses=127.0.0.1", net.JoinHostPort("127.0.0.1", "1"),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}

// TestEveryMessageIsSynced holds the settings without which a peer would answer
// before a message is on the disk; the others do so unasked.
func TestEveryMessageIsSynced(t *testing.T) {
	text := strings.Join(append(redisSettings(1, "/d", "always"), natsSettings), " ")
	for _, want := range []string{"--appendfsync always", "--appendonly yes", "sync_interval: always"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	off := strings.Join(Postgres{}.settings("/d", 1), " ")
	for _, bad := range []string{"fsync=", "synchronous_commit"} {
		if strings.Contains(off, bad) {
			t.Errorf("%q in %s", bad, off)
		}
	}
}
