package sidecarproof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/test/rocketmq"
)

const rotTopic = "rotting"

// backlog is what waits for a broker that is away: more than the 16 MiB of it that are
// kept in memory, so that the rest is read from tables when the broker is back.
type backlog struct {
	t    *testing.T
	dir  string // spool.dir
	sent int
}

const (
	backlogMessages = 12000
	backlogBody     = 2560
	backlogKeys     = 8 // ordering keys: of each a message follows the one before
)

// firstUnread is a message that memory has no room for.
const firstUnread = 18 << 20 / backlogBody

func backlogKey(n int) string { return fmt.Sprint("key-", n%backlogKeys) }

func backlogText(n int) string { return fmt.Sprintf("body %05d of the backlog", n) }

func backlogMessage(n int) message {
	text := backlogText(n)
	return message{
		number: n, topic: rotTopic, key: strconv.Itoa(n), ordKey: backlogKey(n),
		body: []byte(text + strings.Repeat(".", backlogBody-len(text))),
	}
}

func (b *backlog) fill(c *client) {
	b.t.Helper()
	var posting sync.WaitGroup
	for key := range backlogKeys {
		posting.Go(func() {
			var mine []message
			for n := key; n < backlogMessages; n += backlogKeys {
				mine = append(mine, backlogMessage(n))
			}
			for some := range slices.Chunk(mine, 20) {
				if _, r, err := c.batch(some); err != nil || !r.accepted() {
					b.t.Errorf("messages from %d on: %+v, %v", some[0].number, r, err)
					return
				}
			}
		})
	}
	posting.Wait()
	b.sent = backlogMessages
}

// rotText is written over the middle of a body.
var rotText = []byte("this is not what was written here")

// rot writes over one body in the tables that the sidecar has open, and returns which:
// one that it has not in memory.
func (b *backlog) rot() (number int) {
	b.t.Helper()
	for n := firstUnread; n < backlogMessages; n++ {
		switch found, err := b.spoil(n); {
		case err != nil:
			b.t.Fatal(err)
		case found:
			return n
		}
	}
	b.t.Fatalf("no table holds a message from number %d on", firstUnread)
	return 0
}

// rotOn spoils a message wherever it is copied to, until the process ends: a compaction
// that read it before it rotted has written it, whole, to another table by now.
func (b *backlog) rotOn(number int, ended <-chan struct{}) {
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ended:
			return
		case <-again.C:
		}
		if _, err := b.spoil(number); err != nil {
			b.t.Error(err)
			return
		}
	}
}

// spoil writes over a body in each table that holds it. One that a compaction removes
// meanwhile holds it no more.
func (b *backlog) spoil(number int) (found bool, err error) {
	tables, err := filepath.Glob(filepath.Join(b.dir, "spool", "db", "*.sst"))
	for _, path := range tables {
		data, failed := os.ReadFile(path)
		at := bytes.Index(data, []byte(backlogText(number)))
		middle := at + backlogBody/2
		if at >= 0 && middle+len(rotText) <= len(data) { // else it is not there, or being written
			if !bytes.HasPrefix(data[middle:], rotText) {
				failed = scribble(path, middle)
			}
			found = found || failed == nil
		}
		if !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return found, err
}

func scribble(path string, at int) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(rotText, int64(at))
	return errors.Join(err, f.Close())
}

// arrived is what the broker has, by number, in the order of its queue.
func (b *backlog) arrived(broker *rocketmq.Broker) (numbers []int) {
	b.t.Helper()
	for from := int64(0); ; {
		some, err := broker.Pull(rotTopic, 0, from)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(some) == 0 {
			return numbers
		}
		for _, m := range some {
			n, err := strconv.Atoi(m.Properties["number"])
			if err != nil || !bytes.Equal(m.Body, backlogMessage(n).body) {
				b.t.Fatalf("at offset %d of the broker: %.40q of message %q", m.Offset, m.Body, m.Properties["number"])
			}
			numbers, from = append(numbers, n), m.Offset+1
		}
	}
}

// judge wants all but the rotten ones at the broker, those of a key first in the order
// in which they were accepted.
func (b *backlog) judge(broker *rocketmq.Broker, rotten int) {
	b.t.Helper()
	seen, last, copies := map[int]bool{}, map[string]int{}, 0
	for _, n := range b.arrived(broker) {
		if seen[n] {
			copies++
			continue
		}
		seen[n] = true
		if before, ok := last[backlogKey(n)]; ok && before > n {
			b.t.Errorf("message %d comes after message %d of its key", n, before)
		}
		last[backlogKey(n)] = n
	}
	for n := range b.sent {
		if seen[n] == (n == rotten) {
			b.t.Errorf("message %d is at the broker: %t; message %d is rotten", n, seen[n], rotten)
		}
	}
	b.t.Logf("%d messages are at the broker, %d of them twice", len(seen), copies)
}

// page is the text of an address of the sidecar.
func (p *process) page(t *testing.T, method, url string) string {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d %s (%v)", method, url, res.StatusCode, text, err)
	}
	return string(text)
}

// damageReport is what GET /v1/ledger says of damage.
type damageReport struct {
	Damage struct {
		Reports []struct {
			Lost       int
			Quarantine []string
			Sequences  []struct {
				First, Last int
				Topic       string
			}
		}
	}
}

// TestDamageMetWhileItRuns: a message rots in a table, under a sidecar with a backlog
// that waits for its broker. The broker comes back, and the process ends, with 74, when
// it comes to what it cannot read, for sending it or in a compaction. The next one says
// what is lost wherever one looks, and sends all the rest, in order.
func TestDamageMetWhileItRuns(t *testing.T) {
	cluster := rocketmq.Start(t, rocketmq.Options{})
	cluster.CreateTopic(t, rotTopic, 1)
	broker := cluster.Brokers[0]
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	b := &backlog{t: t, dir: filepath.Join(t.TempDir(), "data")}
	how := setup{
		program: shipped, dir: b.dir, nameServer: cluster.NameServerAddrs()[0],
		set: []string{"forwarder.retry.max=1s", "spool.topic_share=100%"},
	}
	side := run(t, how, spawn(t))
	b.fill(side.client)
	rotten := b.rot()
	var rotting sync.WaitGroup
	rotting.Go(func() { b.rotOn(rotten, side.ended) })
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	if code := side.exitCode(t); code != exitStorage {
		t.Fatalf("ended with %d, want %d\n%s", code, exitStorage, side.log.tail())
	}
	rotting.Wait()
	if n := len(b.arrived(broker)); n >= b.sent { // none, if a compaction comes to it first
		t.Errorf("%d of %d messages were sent before the damage was met", n, b.sent)
	}
	side.client.close()

	next := run(t, how, spawn(t))
	s := &scene{t: t, side: next}
	b.saysDamage(next)
	next.page(t, http.MethodPost, next.admin+"/v1/damage/acknowledge")
	s.eventually("the rest is sent", func() bool {
		l, err := next.ledger()
		return err == nil && l.held() == 0
	})
	if l, err := next.ledger(); err != nil || !l.Balanced || l.Total.Lost != 1 || l.Total.Confirmed != b.sent-1 {
		t.Errorf("the ledger is %+v, %v", l, err)
	}
	if code := next.stop(t); code != 0 {
		t.Errorf("stopped with %d", code)
	}
	b.judge(broker, rotten)
}

// saysDamage wants one lost message to be said in the log, by readiness, the metrics and
// the ledger, and its bytes kept.
func (b *backlog) saysDamage(p *process) {
	t := b.t
	t.Helper()
	if text := p.page(t, http.MethodGet, p.health+"/readyz?verbose"); !strings.Contains(text, `{"name":"damaged","is":true`) {
		t.Errorf("readyz: %s", text)
	}
	metrics := p.page(t, http.MethodGet, p.health+"/metrics")
	for _, line := range []string{`remora_degraded{reason="damaged"} 1`, `remora_spool_settled_total{state="lost"} 1`, "remora_ledger_balanced 0"} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no metric says %s", line)
		}
	}
	if text := p.log.String(); !strings.Contains(text, "the spool was damaged: see what is lost, then acknowledge it") {
		t.Errorf("the log does not say it:\n%s", text)
	}
	var l damageReport
	if err := json.Unmarshal([]byte(p.page(t, http.MethodGet, p.admin+"/v1/ledger")), &l); err != nil {
		t.Fatal(err)
	}
	all := l.Damage.Reports
	if len(all) != 1 || all[0].Lost != 1 || len(all[0].Sequences) != 1 || all[0].Sequences[0].Topic != rotTopic || len(all[0].Quarantine) == 0 {
		t.Fatalf("the ledger reports %+v", all)
	}
	for _, path := range all[0].Quarantine {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}
