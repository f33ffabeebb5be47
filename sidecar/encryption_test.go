package sidecar_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
)

// encrypted is a configuration of a broker that is not there, so that all waits
// in the spool, and of a file with these keys.
func encrypted(t *testing.T, keys ...string) config.Config {
	t.Helper()
	c := embedded(t)
	c.Broker.Type = config.BrokerRocketMQ
	c.Broker.RocketMQ.NameServers = []string{"127.0.0.1:1"}
	c.Drain.Timeout = 100 * config.Millisecond
	keysInto(t, &c, keys...)
	return c
}

func keysInto(t *testing.T, c *config.Config, keys ...string) {
	t.Helper()
	text := ""
	for _, k := range keys {
		text += strings.Repeat(k, 32) + "\n"
	}
	c.Spool.EncryptionKeyFile = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(c.Spool.EncryptionKeyFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// encryption is what the status says of it.
func (r *running) encryption() sidecar.Encryption {
	r.t.Helper()
	var status sidecar.Status
	_, text := get(r.t, "http://"+r.side.Addresses().Admin+"/v1/status")
	if err := json.Unmarshal([]byte(text), &status); err != nil || status.Spool == nil || status.Spool.Encryption == nil {
		r.t.Fatalf("%s: %v", text, err)
	}
	return *status.Spool.Encryption
}

// filesWith counts the files under dir in which word is found.
func filesWith(t *testing.T, dir, word string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(word)) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatIsAcceptedIsEncrypted(t *testing.T) {
	c := encrypted(t, "0a")
	r := start(t, c)
	for _, body := range []string{"canary", strings.Repeat("canary ", 50_000)} {
		if code, _ := r.post("canary-topic", body, ""); code != http.StatusAccepted {
			t.Fatal(code)
		}
	}
	first := r.encryption()
	if len(first.Older) != 0 || first.Plain != 0 {
		t.Errorf("%+v", first)
	}
	if n := filesWith(t, c.Spool.Dir, "canary"); n != 0 {
		t.Errorf("found in %d files", n)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if n := filesWith(t, c.Spool.Dir, "canary"); n != 0 {
		t.Errorf("found in %d files after the end", n)
	}

	keysInto(t, &c, "0b")
	if err := <-launch(t, c).done; sidecar.ExitCode(err) != sidecar.ExitUnfit || !strings.Contains(err.Error(), first.Key) {
		t.Errorf("with another key: %v", err)
	}
	keysInto(t, &c, "0b", "0a")
	r = start(t, c)
	if now := r.encryption(); now.Key == first.Key || now.Older[first.Key] == 0 {
		t.Errorf("with another key in front: %+v, before %+v", now, first)
	}
	if _, ledger := get(t, "http://"+r.side.Addresses().Admin+"/v1/ledger"); !strings.Contains(ledger, `"balanced":true,"total":{"accepted":2`) {
		t.Error(ledger)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
}

// A key that only marks of dedupe need is named as long as they do: without it the sidecar
// does not start.
func TestAKeyOfMarksAloneIsNeeded(t *testing.T) {
	c := encrypted(t, "0a")
	if err := start(t, c).end(); err != nil {
		t.Fatal(err)
	}
	keysInto(t, &c, "0b", "0a")
	if err := start(t, c).end(); err != nil { // the spool needs the older key no more
		t.Fatal(err)
	}
	older := markUnder(t, c.Spool.Dir, "0a", "0b")

	keysInto(t, &c, "0b")
	if err := <-launch(t, c).done; sidecar.ExitCode(err) != sidecar.ExitUnfit || !strings.Contains(err.Error(), older) {
		t.Errorf("without the key of the marks, %s: %v", older, err)
	}
	c.Spool.EncryptionKeyFile = ""
	if err := <-launch(t, c).done; sidecar.ExitCode(err) != sidecar.ExitUnfit {
		t.Errorf("without any key: %v", err)
	}
	keysInto(t, &c, "0b", "0a")
	r := start(t, c)
	if now := r.encryption(); now.Older[older] == 0 {
		t.Errorf("the key of the marks, %s, is not told: %+v", older, now)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
}

// markUnder writes a mark of dedupe under the first key, and returns its name.
func markUnder(t *testing.T, dir string, keys ...string) string {
	t.Helper()
	text := ""
	for _, k := range keys {
		text += strings.Repeat(k, 32) + "\n"
	}
	ring, err := keyring.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	db, err := kv.Open(t.Context(), kv.Options{Dir: filepath.Join(dir, "spool", "db"), Magic: spool.FormatVersion, Owner: spool.Owner(ring)})
	if err != nil {
		t.Fatal(err)
	}
	marks, err := local.Open(db, local.Options{Keys: ring})
	if err == nil {
		_, err = marks.Begin(t.Context(), dedupe.Key{Scope: "s", Key: "k"}, dedupe.Fingerprint{}, time.Minute)
	}
	if err == nil {
		err = errors.Join(marks.Close(), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return ring.Current().String()
}
