package sidecar_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/test/ports"
)

// waiting is a sidecar's folder with three messages that wait, closed.
func waiting(t *testing.T) config.Config {
	t.Helper()
	c := embedded(t)
	c.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{ports.Free(t)}}}
	c.Drain.Timeout = 300 * config.Millisecond
	r := start(t, c)
	for _, body := range []string{"body of the first", "body of the second", "body of the third"} {
		if status, _ := r.post("t", body, ""); status != 202 {
			t.Fatal(status)
		}
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	return c
}

// flip changes a bit in whichever file of the database holds text.
func flip(t *testing.T, c config.Config, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.Spool.Dir, "spool", "db", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, []byte(text)); at >= 0 {
			data[at] ^= 1
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no table of %v holds %q", files, text)
}

// TestDamageIsSaidUntilItIsAcknowledged rots a message on the disk. The sidecar
// comes up, is ready, accepts, and says what it has lost wherever one looks.
func TestDamageIsSaidUntilItIsAcknowledged(t *testing.T) {
	c := waiting(t)
	flip(t, c, "body of the second")
	for range 2 { // and after a restart
		r := start(t, c)
		a := r.side.Addresses()
		if status, body := get(t, "http://"+a.Health+"/readyz?verbose"); status != 200 || !strings.Contains(body, `{"name":"damaged","is":true`) {
			t.Errorf("%d %s", status, body)
		}
		if _, body := get(t, "http://"+a.Data[0]+"/v1/status"); !strings.Contains(body, `"damaged"`) {
			t.Error(body)
		}
		_, metrics := get(t, "http://"+a.Health+"/metrics")
		for _, line := range []string{`remora_degraded{reason="damaged"} 1`, `remora_spool_settled_total{state="lost"} `, "remora_ledger_balanced 0"} {
			if !strings.Contains(metrics, line) || strings.Contains(metrics, `{state="lost"} 0`) {
				t.Errorf("no metric says %s", line)
			}
		}
		ledger := ledgerOf(t, r)
		if d := ledger.Damage.Reports; ledger.Balanced || len(d) != 1 || len(d[0].Sequences) != 1 || d[0].Sequences[0].First != 2 || d[0].Sequences[0].Last != 2 || d[0].Lost != 1 || ledger.Total.Lost != d[0].Lost {
			t.Errorf("%+v", ledger)
		}
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
	}
	r := start(t, c)
	if status, body := change(t, "http://"+r.side.Addresses().Admin+"/v1/damage/acknowledge"); status != 200 || !strings.Contains(body, `"sequences":[{`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := r.post("t", "body of the fourth", ""); status != 202 {
		t.Error(status)
	}
	if ledger := ledgerOf(t, r); !ledger.Balanced || ledger.Total.Lost == 0 || ledger.Total.InSpool.Held() == 0 {
		t.Errorf("%+v", ledger)
	}
	if _, body := get(t, "http://"+r.side.Addresses().Health+"/readyz?verbose"); !strings.Contains(body, `{"name":"damaged","is":false`) {
		t.Error(body)
	}
}

func ledgerOf(t *testing.T, r *running) (l sidecar.Ledger) {
	t.Helper()
	status, body := get(t, "http://"+r.side.Addresses().Admin+"/v1/ledger")
	if err := json.Unmarshal([]byte(body), &l); err != nil || status != 200 {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	return l
}

func change(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := client.Post(url, "", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, b.String()
}

// fillers is a part of the database that writes pairs.
type fillers struct{}

func (fillers) Write(tx *kv.Tx, pairs [][2]string) error {
	for _, p := range pairs {
		tx.Set([]byte(p[0]), []byte(p[1]))
	}
	return nil
}

func (fillers) Synced([][2]string) {}

// TestDamageBesideTheSpoolIsSalvagedAtOnce: what keeps its entries in the spool's
// database finds damage that the spool's opening had no reason to meet.
func TestDamageBesideTheSpoolIsSalvagedAtOnce(t *testing.T) {
	c := waiting(t)
	dir := filepath.Join(c.Spool.Dir, "spool", "db")
	db, err := kv.Open(t.Context(), kv.Options{Dir: dir, CloseWait: 2 * time.Minute, Magic: spool.FormatVersion})
	if err != nil {
		t.Fatal(err)
	}
	// In the order of keys: before the entries of pauses, "c/p/", and in their block.
	q := kv.Attach(db, fillers{})
	for _, key := range []string{"c/o/0", "c/o/1", "c/p/paused", "c/q/0", "c/q/1"} {
		if err := q.Commit(t.Context(), [2]string{key, strings.Repeat("filler of "+key, 4000)}, 64<<10); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	flip(t, c, "filler of c/p/paused")
	r := start(t, c)
	if !r.log.says("opening the spool again, to salvage what is damaged") {
		t.Error("nothing was found")
	}
	if status, _ := r.post("t", "body of the fourth", ""); status != 202 {
		t.Error(status)
	}
	if ledger := ledgerOf(t, r); ledger.Total.InSpool.Held() != 4 {
		t.Errorf("%+v", ledger)
	}
}
