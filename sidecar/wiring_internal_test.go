package sidecar

import (
	"crypto/tls"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/dedupe/redis"
	"github.com/remora-mq/remora/dedupe/sql"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// allSet wants that each option has a value, but those named, which nobody configures: an
// option that is new comes from somewhere, or is named here.
func allSet(t *testing.T, options any, but ...string) {
	t.Helper()
	all := reflect.ValueOf(options)
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		if unset := all.Field(i).IsZero(); unset != slices.Contains(but, name) {
			t.Errorf("%s of %s has no value: %t", name, all.Type(), unset)
		}
	}
}

const everySetting = `
broker: {type: rocketmq, rocketmq: {name_servers: ["10.0.0.1:9876"]}}
listen: {hosts: [remora.local], origins: ["https://ops.example"], peer_uids: [7]}
spool:
  topic_share: 25%
  sync_timeout: 11s
  max_message: 1MiB
  max_batch: {messages: 17, bytes: 2MiB}
  receipts: {keep: 13h, max: 1717, limit: 3MiB}
  idempotency: {window: 14h, limit: 4MiB}
  retain: 15m
topics: {allow: [orders], max: 18, rate: {orders: 120/m}, delay: {orders: broker}}
memory: {ingest: 5MiB}
ledger: {keep: 19h}
forwarder: {attempt_timeout: 60s, batch: {max_messages: 8}, ordering: {on_dead: block}}
transactions: {check_urls: ["http://127.0.0.1:8080/tx"]}
`

// ofAll is a sidecar with every setting of a spool and a listener, and room for them.
func ofAll(t *testing.T) *Sidecar {
	t.Helper()
	s := configured(t, everySetting)
	s.parts.room = newRoom("", Capacity{Messages: 1 << 30}, slog.New(slog.DiscardHandler))
	return s
}

// Each setting of the spool comes to it.
func TestSpoolIsAsConfigured(t *testing.T) {
	s := ofAll(t)
	s.parts.timers = newTimers(s.cfg.Topics.AtBroker(), s.log)
	got := s.spoolOptions("/spool")
	allSet(t, got, "Keys", "Window", "Now", "Elapsed") // a file of keys is read elsewhere
	if _, is := got.Timer("orders"); !is {
		t.Error("the topic's delayed messages are not for the broker's timer")
	}
	got.Space, got.Logger, got.Timer = nil, nil, nil
	want := spool.Options{
		Dir: "/spool", Limit: 1 << 30, TopicShare: .25, MaxTopics: 18,
		ReceiptsKeep: 13 * time.Hour, ReceiptsMax: 1717, ReceiptsLimit: 3 << 20,
		DedupeWindow: 14 * time.Hour, DedupeLimit: 4 << 20, LedgerKeep: 19 * time.Hour,
		RetainFor: 15 * time.Minute, RetainBytes: 1 << 28, LeaseFor: 10 * time.Minute, BlockOnDead: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it gets\n%+v\nwant\n%+v", got, want)
	}
}

// Each setting of the data listener comes to it.
func TestDataListenerIsAsConfigured(t *testing.T) {
	s := ofAll(t)
	s.secrets.dataTokens, s.leases, s.parts.door = []string{"token"}, ackgate.NewLeases(), &door{}
	s.parts.volume.Survives = "pod"
	s.drain.lack, s.drain.all.rate, s.drain.all.held = 3000, 100, 1e6 // bytes, and bytes a second
	got := s.dataOptions()
	allSet(t, got, "MaxHeader", "MaxConns", "ReadTimeout", "WriteTimeout", "IdleTimeout", "MaxWait")
	if got.RetryAfter == nil || got.RetryAfter(problem.DiskLow, "") != 30*time.Second {
		t.Error("a problem does not tell when the volume has room again")
	}
	for name, is := range map[string]struct{ got, want any }{
		"max_message": {got.MaxMessage, 1 << 20}, "max_batch.messages": {got.MaxBatchMessages, 17}, "max_batch.bytes": {got.MaxBatchBytes, 2 << 20},
		"ingest": {got.IngestBudget, int64(5 << 20)}, "sync_timeout": {got.AppendTimeout, 11 * time.Second},
		"topics.allow": {got.AllowedTopics, []string{"orders"}}, "topics.rate": {got.TopicRates, map[string]float64{"orders": 2}},
		"token": {got.Tokens, []string{"token"}}, "hosts": {got.AllowedHosts, []string{"remora.local"}}, "origins": {got.AllowedOrigins, []string{"https://ops.example"}},
		"peer_uids": {got.PeerUIDs, []uint32{7}}, "check_urls": {len(got.CheckURLs), 1},
		"broker": {got.BrokerType, "rocketmq"}, "survives": {got.Survives, "pod"}, "version": {got.Version, "test"},
	} {
		if !reflect.DeepEqual(is.got, is.want) {
			t.Errorf("%s: %v, want %v", name, is.got, is.want)
		}
	}
}

// Each setting of the stores that sidecars share comes to them.
func TestDedupeStoresAreAsConfigured(t *testing.T) {
	c := configured(t, `
broker: {type: embedded}
dedupe: {window: 20h, timeout: 3s, sql: {driver: mysql, dsn_file: /never/read}, redis: {url_file: /never/read}}
`).cfg.Dedupe
	known := secrets{sqlDSN: "dsn", redisURL: "url", redisTLS: &tls.Config{MinVersion: tls.VersionTLS12}}
	forSQL := sqlOptions(c, known)
	allSet(t, forSQL, "Connections", "SweepEvery")
	if want := (sql.Options{Driver: "mysql", DSN: "dsn", Window: 20 * time.Hour, Timeout: 3 * time.Second}); forSQL != want {
		t.Errorf("the database gets\n%+v\nwant\n%+v", forSQL, want)
	}
	forRedis := redisOptions(c, known)
	allSet(t, forRedis, "Connections")
	if want := (redis.Options{URL: "url", TLS: known.redisTLS, Window: 20 * time.Hour, Timeout: 3 * time.Second}); forRedis != want {
		t.Errorf("Redis gets\n%+v\nwant\n%+v", forRedis, want)
	}
}
