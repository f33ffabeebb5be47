package sidecar

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/reread"
)

// Keys are read again from their files, soon after they have changed; what cannot be
// read changes nothing, and is said once.
func TestBrokerKeysAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	files := config.RocketMQ{AccessKeyFile: filepath.Join(dir, "access"), SecretKeyFile: filepath.Join(dir, "secret")}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(files.AccessKeyFile, "user\n")
	write(files.SecretKeyFile, "first\n")
	k, err := openBrokerKeys(files)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	k.log = slog.New(slog.NewTextHandler(&log, nil))
	now := time.Now()
	k.keys = reread.New(k.current(), k.again, func() time.Time { return now })
	is := func(secret string) {
		t.Helper()
		if got := k.current(); got != (rocketmq.Keys{Access: "user", Secret: secret}) {
			t.Errorf("they are %+v, want %s", got, secret)
		}
	}
	write(files.SecretKeyFile, "second\n")
	is("first")
	now = now.Add(reread.Every + time.Second)
	is("second")
	write(files.SecretKeyFile, "")
	for range 3 {
		now = now.Add(reread.Every)
		is("second")
	}
	if n := strings.Count(log.String(), "cannot be read again"); n != 1 || strings.Contains(log.String(), "second") {
		t.Errorf("said %d times: %s", n, log.String())
	}
	write(files.SecretKeyFile, "third")
	now = now.Add(reread.Every)
	is("third")
}

// What is read while the files are written is two halves, of which only the broker would
// know that they do not belong together: a pair is taken when it is read twice.
func TestBrokerKeysAreTakenWhenTheyHaveSettled(t *testing.T) {
	pair := func(access, secret string) rocketmq.Keys { return rocketmq.Keys{Access: access, Secret: secret} }
	first, swapped, second := pair("first", "first's"), pair("first", "second's"), pair("second", "second's")
	var reads []rocketmq.Keys // of the files, from now on; the last one stays
	k := &brokerKeys{files: config.RocketMQ{SecretKeyFile: "secret"}, log: slog.New(slog.DiscardHandler)}
	k.pair = func() (rocketmq.Keys, error) {
		keys := reads[0]
		reads = reads[min(1, len(reads)-1):]
		return keys, nil
	}
	now := time.Now()
	k.keys = reread.New(first, k.again, func() time.Time { return now })
	for _, next := range []struct {
		reads []rocketmq.Keys
		want  rocketmq.Keys
	}{
		{[]rocketmq.Keys{swapped, first}, first},
		{[]rocketmq.Keys{pair("first", "sec"), swapped, first, swapped, second}, first},
		{[]rocketmq.Keys{swapped, second}, second},
		{[]rocketmq.Keys{pair("", ""), first}, first},
	} {
		reads = next.reads
		now = now.Add(reread.Every)
		if got := k.current(); got != next.want {
			t.Errorf("read as %v they are %v, want %v", next.reads, got, next.want)
		}
	}
}

// A secret may come through a pipe, which holds it once.
func TestBrokerKeysFromAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	access := filepath.Join(t.TempDir(), "access")
	_, failed := w.WriteString("secret\n")
	if err := errors.Join(failed, w.Close(), os.WriteFile(access, []byte("user\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	k, err := openBrokerKeys(config.RocketMQ{AccessKeyFile: access, SecretKeyFile: fmt.Sprintf("/dev/fd/%d", r.Fd())})
	if want := (rocketmq.Keys{Access: "user", Secret: "secret"}); err != nil || k.current() != want {
		t.Errorf("they are %+v (%v), want %+v", k.current(), err, want)
	}
}
