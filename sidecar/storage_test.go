package sidecar_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

func TestFailedStorageEndsAtOnceAndClosesNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		stop bool // it is stopping already
	}{{"while it runs", false}, {"while it stops", true}} {
		t.Run(tt.name, func(t *testing.T) {
			c := embedded(t)
			c.Drain.Timeout = 10 * config.Minute
			called, release := make(chan struct{}), make(chan struct{})
			c.Subscriptions = append(c.Subscriptions, subscription("slow", "slow", handler(t, blockUntil(called, release))))
			r := start(t, c)
			r.post("slow", "keeps it from ending", "")
			<-called
			if tt.stop {
				r.stop()
				awaitState(t, r, 503, "stopping")
			}
			began := time.Now()
			r.side.FailStorage()
			err := <-r.done
			if took := time.Since(began); took > time.Minute { // which is no drain
				t.Errorf("ended after %v", took)
			}
			if !errors.Is(err, sidecar.ErrStorage) || sidecar.ExitCode(err) != sidecar.ExitStorage {
				t.Errorf("error %v", err)
			}
			if got := r.log.steps(); len(got) > 0 {
				t.Errorf("it went on to %q", got)
			}
			if _, err := os.Stat(filepath.Join(c.Spool.Dir, "spool", "db", "CLEAN")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the database was closed (%v)", err)
			}
			close(release)
			if err := r.side.Close(t.Context()); err != nil {
				t.Error(err)
			}
			r.done <- nil // for the clean-up
		})
	}
}

func TestEmptyDirIsKnownByItsSource(t *testing.T) {
	mounts := `21 1 8:1 / / rw - ext4 /dev/sda1 rw
36 21 8:1 /var/lib/kubelet/pods/ab-cd/volumes/kubernetes.io~empty-dir/spool /var/lib/remora rw - ext4 /dev/sda1 rw
37 36 8:2 / /var/lib/remora/disk rw - ext4 /dev/sdb1 rw
`
	for path, want := range map[string]bool{
		"/var/lib/remora": true, "/var/lib/remora/spool": true, "/var/lib/remora/disk/x": false,
		"/var/lib/remora2": false, "/data": false, "/": false,
	} {
		if got := sidecar.InEmptyDir(strings.NewReader(mounts), path); got != want {
			t.Errorf("%s: %t, want %t", path, got, want)
		}
	}
}

func TestVolumes(t *testing.T) {
	v, err := sidecar.VolumeOf(filepath.Join(t.TempDir(), "not", "there"))
	if err != nil || v.Filesystem == "" || v.Survives != "node" && v.Survives != "process" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := sidecar.VolumeOf("/dev/shm"); err != nil || v.Survives != "process" || v.Durable {
		t.Errorf("a tmpfs: %+v, %v", v, err)
	}
	limit, err := sidecar.DefaultLimit(filepath.Join(t.TempDir(), "not", "there"))
	if err != nil || limit <= 0 || limit > 1<<30 {
		t.Errorf("limit %s, %v", limit, err)
	}
}
