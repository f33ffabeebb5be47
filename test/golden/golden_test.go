package golden

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

var update = flag.Bool("update", false, "write the directories of the current format")

// Times on disk have no zone; what was noted of them must not depend on one.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// kinds are the directories of each version.
var kinds = map[string]struct {
	key    string // none: it is plain
	closed bool   // in order; else left as by kill -9
}{
	"plain":     {"", true},
	"encrypted": {"7c", false},
}

// current is the version that is written now: of the spool, and of the database.
var current = fmt.Sprintf("%d.%d", spool.Format, kv.Layout)

func archive(version, kind string) string {
	return filepath.Join("testdata", fmt.Sprintf("format-%s-%s.tar.gz", version, kind))
}

func expectation(archive string) string { return strings.TrimSuffix(archive, ".tar.gz") + ".json" }

func ringOf(t *testing.T, kind string) *keyring.Ring {
	t.Helper()
	k, ok := kinds[kind]
	switch {
	case !ok:
		t.Fatalf("no kind %q of directory is known", kind)
	case k.key != "":
		return keys(t, k.key)
	}
	return nil
}

func TestEveryVersionIsRead(t *testing.T) {
	if *update {
		for kind := range kinds {
			write(t, kind)
		}
	}
	for kind := range kinds {
		if _, err := os.Stat(archive(current, kind)); err != nil {
			t.Errorf("the current format has no directory; write it: go test ./test/golden -update (%v)", err)
		}
	}
	all, err := filepath.Glob(archive("*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		t.Run(filepath.Base(path), func(t *testing.T) { read(t, path) })
	}
}

// write fills a directory of the current format and notes what it holds.
func write(t *testing.T, kind string) {
	t.Helper()
	dir, path := t.TempDir(), archive(current, kind)
	h := open(t, dir, ringOf(t, kind))
	h.fill()
	h.delay()
	h.prepare()
	h.prepareAtBroker()
	h.pause()
	h.handOver()
	if kinds[kind].closed {
		h.close()
		pack(t, dir, path)
	} else {
		pack(t, dir, path) // all that was done is synced, and nothing is under way
		h.close()
	}
	h = open(t, unpack(t, path), ringOf(t, kind))
	defer h.close()
	if err := os.WriteFile(expectation(path), h.state(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) {
	t.Helper()
	_, kind, _ := strings.Cut(strings.TrimPrefix(filepath.Base(strings.TrimSuffix(path, ".tar.gz")), "format-"), "-")
	ring := ringOf(t, kind)
	want, err := os.ReadFile(expectation(path))
	if err != nil {
		t.Fatal(err)
	}
	dir := unpack(t, path)
	h := open(t, dir, ring)
	if lack := lacking(t, want, h.state()); len(lack) > 0 {
		t.Errorf("its state is another:\n%s", strings.Join(lack, "\n"))
	}
	h.goOn()
	h.close()
	h = open(t, dir, ring)
	if a, err := h.spool.Audit(t.Context()); err != nil || !a.Balanced || a.Ledger.Total.InSpool.Pending != uint64(2*len(topics)) {
		t.Errorf("after more work: %+v, %v", a, err)
	}
	h.close()
	if ring == nil {
		return
	}
	missing := &keyring.MissingError{}
	if _, err := try(t, dir, nil); !errors.As(err, &missing) || missing.ID != ring.Current() {
		t.Errorf("without its key: %v", err)
	}
}

// goOn accepts more, and confirms all but what is on hold; transactions that are open
// are committed.
func (h *house) goOn() {
	h.t.Helper()
	h.decide("half", true)
	h.decide("undecided", true)
	h.resume()
	h.take()
	for _, topic := range topics {
		h.append(draft(topic, perTopic+1))
		leases := h.lease(topic, perTopic-5)
		sent := make([]message.Confirmation, len(leases))
		for i := range sent {
			sent[i] = message.Confirmation{OffsetMessageID: fmt.Sprint("offset", i)}
		}
		h.spool.Confirm(leases, sent)
	}
}
