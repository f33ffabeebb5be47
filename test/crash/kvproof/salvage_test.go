package kvproof

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/testscale"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

const damagedRecords = 80 // a table, and some thirty commits in a log

// damaged makes a database as a killed process leaves it, with a flipped bit
// in its log, and returns the directory that holds it.
func damaged(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	running := filepath.Join(t.TempDir(), "db")
	db, err := kv.Open(t.Context(), Options(running))
	if err != nil {
		t.Fatal(err)
	}
	store := NewStore(db)
	for n := 1; n <= damagedRecords; n++ {
		if err := store.Accept(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = kv.Open(t.Context(), Options(running)); err != nil {
		t.Fatal(err)
	}
	store = NewStore(db)
	for n := damagedRecords + 1; n <= damagedRecords+20; n++ {
		if err := store.Accept(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	copied := filepath.Join(root, "db")
	if err := errors.Join(os.CopyFS(copied, os.DirFS(running)), db.Close()); err != nil {
		t.Fatal(err)
	}
	flipLog(t, copied)
	return root
}

func flipLog(t *testing.T, dir string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	data, err := os.ReadFile(logs[0]) // what follows is prepared, and empty
	if err != nil {
		t.Fatal(err)
	}
	data[50_000] ^= 1
	if err := os.WriteFile(logs[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestPowerLossDuringASalvage takes states while a start salvages: in each the
// next start finds all records but the one that was hit, and says so.
func TestPowerLossDuringASalvage(t *testing.T) {
	root, program := damaged(t), build(t, "")
	fs := powerfs.Mount(t, powerfs.Options{From: root})
	fs.HoldAt(1)
	r, w := io.Pipe()
	cmd := exec.Command(program, filepath.Join(fs.Dir(), "db"), "1", "1")
	cmd.Stdout, cmd.Stderr = w, t.Output()
	ended := fs.Start(cmd)
	done := make(chan outcome, 1)
	go func() { done <- listen(r) }()
	go func() { <-ended; _ = w.Close() }()

	rng, one, states := rand.New(rand.NewPCG(2, 2)), testscale.Between(10, 1), 0
	for {
		select {
		case held := <-fs.Held():
			if rng.IntN(one) == 0 {
				for _, dir := range fs.Survive(disk.None, disk.Random(uint64(held.Ops))) {
					states++
					checkSalvaged(t, dir, held)
				}
			}
			fs.Resume(1)
		case o := <-done:
			fs.HoldAt(0)
			if t.Logf("%d states, %d operations", states, fs.Ops()); !o.done || states < 10 {
				t.Errorf("%+v", o)
			}
			return
		case <-time.After(time.Minute):
			t.Fatal("the start got stuck")
		}
	}
}

func checkSalvaged(t *testing.T, dir string, cut disk.Event) {
	t.Helper()
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}()
	db, err := kv.Open(t.Context(), Options(filepath.Join(dir, "db")))
	if err != nil {
		t.Errorf("operation %d (%s %s): %v", cut.Ops, cut.Held.Kind, cut.Held.Path, err)
		return
	}
	missing := 0
	for n := 1; n <= damagedRecords+20; n++ {
		if v, err := db.Get(Key(n)); err != nil || !bytes.Equal(v, Value(n)) {
			missing++
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "quarantine", "*", "*.mem"))
	if missing > 1 || db.Damage() == nil || err != nil || len(left) == 0 {
		t.Errorf("operation %d (%s %s): %d records missing, reported %+v, in quarantine %v, %v",
			cut.Ops, cut.Held.Kind, cut.Held.Path, missing, db.Damage(), left, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
