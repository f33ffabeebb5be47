package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
)

const embedded = "broker: {type: embedded}\n"

func load(t *testing.T, yaml string, change ...func(*config.Sources)) (*config.Loaded, error) {
	t.Helper()
	src := config.Sources{File: "remora.yaml", Data: []byte(yaml)}
	for _, c := range change {
		c(&src)
	}
	return config.Load(src)
}

func mustLoad(t *testing.T, yaml string, change ...func(*config.Sources)) *config.Loaded {
	t.Helper()
	l, err := load(t, yaml, change...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func env(vars ...string) func(*config.Sources) {
	return func(s *config.Sources) { s.Env = vars }
}

func set(vars ...string) func(*config.Sources) {
	return func(s *config.Sources) { s.Set = vars }
}

// wantProblem asks for one problem that has all of parts in its text.
func wantProblem(t *testing.T, err error, parts ...string) {
	t.Helper()
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error = %v, want problems", err)
	}
	for _, p := range problems {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(p.Error(), part)
		}
		if all {
			return
		}
	}
	t.Errorf("no problem says %q:\n%v", parts, err)
}

func TestSampleIsTheDefaults(t *testing.T) {
	got := mustLoad(t, config.Sample).Config
	want := config.Default()
	want.Broker = config.Broker{Type: "rocketmq", RocketMQ: config.RocketMQ{NameServers: []string{"127.0.0.1:9876"}}}
	got.Listen.Hosts, got.Listen.Origins, got.Listen.PeerUIDs, got.Subscriptions = nil, nil, nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("sample:\n%+v\ndefaults:\n%+v", got, want)
	}
}

// Each value of a sample differs from its default, so none is bound wrongly.
func TestEveryHonouredKeyIsRead(t *testing.T) {
	l := mustLoad(t, `
listen:
  data: [127.0.0.1:1, "unix:///run/r.sock"]
  admin: 127.0.0.1:2
  health: 0.0.0.0:3
  token_file: a
  admin_token_file: b
  hosts: [h]
  origins: [o]
  socket_group: g
  peer_uids: [7, 4294967295]
spool:
  dir: /d
  limit: 1.5GiB
  lock_wait: 1m30s
  sync_timeout: 30s
  max_message: 4KiB
  max_batch: {messages: 5, bytes: 6MB}
  receipts: {keep: 2d, max: 8, limit: 9MiB}
  idempotency: {window: 9h, limit: 10MiB}
broker:
  type: rocketmq
  rocketmq: {name_servers: "ns:9876", producer_group: pg, access_key_file: ak, secret_key_file: sk}
forwarder:
  concurrency: 11
  batch: {max_messages: 12, max_bytes: 13KiB}
  attempt_timeout: 14s
  retry: {initial: 15ms, max: 16s}
topics: {max: 17}
memory: {ingest: 18MiB}
ledger: {keep: 27h}
transactions: {check_urls: ["http://app:1/tx"], adopted_check_url: "http://app:1/tx/adopted"}
dedupe: {window: 19h, limit: 21MiB, timeout: 28s, redis: {url_file: ru, ca_file: rca, cert_file: rc, key_file: rk}, sql: {driver: mysql, dsn_file: sd}}
drain: {timeout: 20s}
log: {level: debug, format: text}
subscriptions:
  - {name: n, topic: t, group: g, filter: {tags: [x, y]}, handler: "http://127.0.0.1:1/a", remote: true, concurrency: 21,
     timeout: 22s, retry: {max_attempts: 23, initial: 24s, max: 25s}, dedupe: {store: redis, key: "property:p+tag", window: 18h, on_error: pass},
     from: latest, max_hold: 26s, max_held: 20, ack_statuses: [200, 204]}
`)
	def := config.Default()
	want := config.Config{
		Listen: config.Listen{
			Data: []string{"127.0.0.1:1", "unix:///run/r.sock"}, Admin: "127.0.0.1:2", Health: "0.0.0.0:3",
			TokenFile: "a", AdminTokenFile: "b", Hosts: []string{"h"}, Origins: []string{"o"}, SocketGroup: "g",
			PeerUIDs: []uint32{7, 1<<32 - 1},
		},
		Spool: config.Spool{
			Dir: "/d", Limit: 1536 * config.MiB, LockWait: 90 * config.Second, SyncTimeout: 30 * config.Second, MaxMessage: 4 * config.KiB,
			MaxBatch: config.MaxBatch{Messages: 5, Bytes: 6e6}, Receipts: config.Receipts{Keep: 48 * config.Hour, Max: 8, Limit: 9 * config.MiB},
			Idempotency: config.Idempotency{Window: 9 * config.Hour, Limit: 10 * config.MiB},
			TopicShare:  def.Spool.TopicShare, Reserve: def.Spool.Reserve, Retain: def.Spool.Retain,
		},
		Broker: config.Broker{Type: "rocketmq", RocketMQ: config.RocketMQ{
			NameServers: []string{"ns:9876"}, ProducerGroup: "pg", AccessKeyFile: "ak", SecretKeyFile: "sk",
		}},
		Forwarder: config.Forwarder{
			Concurrency: 11, Batch: config.ForwardBatch{MaxMessages: 12, MaxBytes: 13 * config.KiB},
			AttemptTimeout: 14 * config.Second, Retry: config.Backoff{Initial: 15 * config.Millisecond, Max: 16 * config.Second},
			Ordering: def.Forwarder.Ordering,
		},
		Topics: config.Topics{Max: 17}, Memory: config.Memory{Ingest: 18 * config.MiB, Deliver: def.Memory.Deliver},
		Ledger: config.Ledger{Keep: 27 * config.Hour}, Dedupe: config.Dedupe{
			Window: 19 * config.Hour, Limit: 21 * config.MiB, Timeout: 28 * config.Second,
			Redis: config.Redis{URLFile: "ru", CAFile: "rca", CertFile: "rc", KeyFile: "rk"}, SQL: config.SQL{Driver: "mysql", DSNFile: "sd"},
		},
		Transactions: config.Transactions{CheckURLs: []string{"http://app:1/tx"}, AdoptedCheckURL: "http://app:1/tx/adopted"},
		Drain:        config.Drain{Timeout: 20 * config.Second},
		Log:          config.Log{Level: "debug", Format: "text"},
		Subscriptions: []config.Subscription{{
			Name: "n", Topic: "t", Group: "g", Filter: config.Filter{Tags: []string{"x", "y"}}, Handler: "http://127.0.0.1:1/a",
			Remote: true, Concurrency: 21, Timeout: 22 * config.Second,
			Retry:  config.SubscriptionRetry{MaxAttempts: 23, Initial: 24 * config.Second, Max: 25 * config.Second},
			Dedupe: config.SubscriptionDedupe{Store: "redis", Key: "property:p+tag", Window: 18 * config.Hour, OnError: "pass"},
			From:   "latest", MaxHold: 26 * config.Second, MaxHeld: 20, AckStatuses: []int{200, 204},
		}},
	}
	if !reflect.DeepEqual(l.Config, want) {
		t.Errorf("got\n%+v\nwant\n%+v", l.Config, want)
	}
}

func TestBrokenFilesNameTheirPlace(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"unknown key", "spool:\n  dri: /x\n", []string{"remora.yaml:2:3: spool.dri", "did you mean dir?", "2 |   dri: /x", "|   ^"}},
		{"unknown key at the top", "spol: {}\n", []string{"remora.yaml:1:1: spol", "did you mean spool?"}},
		{"nothing near", "drain: {zzzzzzzzz: 1s}\n", []string{"known are timeout"}},
		{"duration without a unit", "drain: {timeout: 25}\n", []string{"remora.yaml:1:18: drain.timeout", "has no unit", "25s"}},
		{"size without a unit", "spool:\n  limit: 1024\n", []string{"2:10: spool.limit", "has no unit", "1024MiB"}},
		{"no duration", "drain: {timeout: soon}\n", []string{"not a duration"}},
		{"negative duration", "drain: {timeout: -5s}\n", []string{"negative"}},
		{"no size", "spool: {limit: a lot}\n", []string{"not a size"}},
		{"no number", "forwarder: {concurrency: many}\n", []string{"1:26: forwarder.concurrency", "not a whole number"}},
		{"too large a number", "forwarder: {concurrency: 99999999999}\n", []string{"not a whole number"}},
		{"no boolean", "subscriptions: [{ordered: yes}]\n", []string{"subscriptions[0].ordered", "neither true nor false"}},
		{"list for a value", "spool: {dir: [a]}\n", []string{"spool.dir", "this is a list"}},
		{"value for keys", "spool: big\n", []string{"1:8: spool", "single value"}},
		{"no value", "spool:\n  dir:\n", []string{"spool.dir", "has no value"}},
		{"anchor", "spool: {dir: &x a}\n", []string{"spool.dir", "not supported"}},
		{"merge key", "spool:\n  <<: {dir: a}\n", []string{"merge keys"}},
		{"twice", "log: {level: info, level: warn}\n", []string{"level", "already defined"}},
		{"two documents", embedded + "---\nlog: {}\n", []string{"second document"}},
		{"bad indentation", "spool:\n  dir: a\n limit: 1MiB\n", []string{"remora.yaml:3:", "not YAML"}},
		{"tab", "spool:\n\tdir: a\n", []string{"remora.yaml:2:", "not YAML"}},
		{"unset variable", "spool: {dir: '${NOWHERE}/x'}\n", []string{"1:14: spool.dir", "NOWHERE is not set"}},
		{"open brace", "spool: {dir: '${NOWHERE'}\n", []string{"no closing brace"}},
		{"a list's item", "broker: {rocketmq: {name_servers: [a:1, b]}}\n", []string{"1:41: broker.rocketmq.name_servers[1]", "not host:port"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.yaml)
			wantProblem(t, err, tt.want...)
		})
	}
}

func TestBadValuesNameTheirPlace(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"no broker", "log: {level: info}\nbroker: {}\n", []string{"remora.yaml:2:9: broker.type", "not named"}},
		{"other broker", "broker: {type: rocketmk}\n", []string{"1:16: broker.type", "did you mean rocketmq?"}},
		{"no name server", "broker: {type: rocketmq}\n", []string{"broker.rocketmq.name_servers", "no name server"}},
		{"one key of two", "broker: {rocketmq: {access_key_file: a}}\n", []string{"come together"}},
		{"producer group", "broker: {rocketmq: {producer_group: a b}}\n", []string{"broker.rocketmq.producer_group", "character"}},
		{"one address for two", "listen: {data: 127.0.0.1:7600, admin: 127.0.0.1:7600}\n", []string{"1:39: listen.admin", "taken by listen.data[0]", "another port"}},
		{"every address, and one of them", "listen: {health: 0.0.0.0:7601}\n", []string{"1:18: listen.health", "taken by listen.admin"}},
		{"one socket twice", "listen: {data: [unix:///a, unix:///a]}\n", []string{"listen.data[1]", "taken by listen.data[0]"}},
		{"open data", "listen: {data: 0.0.0.0:7600}\n", []string{"1:16: listen.data[0]", "listen.token_file"}},
		{"open data, IPv6", "listen: {data: '[::]:7600'}\n", []string{"listen.data[0]", "listen.token_file"}},
		{"open data, all addresses", "listen: {data: ':7600'}\n", []string{"listen.data[0]", "listen.token_file"}},
		{"open admin", "listen: {admin: 10.1.1.1:1, token_file: x}\n", []string{"listen.admin", "listen.admin_token_file"}},
		{"no port", "listen: {health: 127.0.0.1}\n", []string{"listen.health", "not host:port"}},
		{"relative socket", "listen: {data: 'unix://x.sock'}\n", []string{"listen.data[0]", "absolute path"}},
		{"no listener", "listen: {data: []}\n", []string{"listen.data", "no address"}},
		{"small limit", "spool: {limit: 10B}\n", []string{"spool.limit", "below the least, 1MiB"}},
		{"topic share of nothing", "spool: {topic_share: 0%}\n", []string{"1:22: spool.topic_share", "is not a share"}},
		{"topic share without its unit", "spool: {topic_share: '50'}\n", []string{"as 50%"}},
		{"reserve", "spool: {reserve: much}\n", []string{"spool.reserve", "not a size", "or auto"}},
		{"large batch", "spool: {max_batch: {messages: 1001}}\n", []string{"spool.max_batch.messages", "not between 1 and 1000"}},
		{"large message", "spool: {max_message: 8MiB}\n", []string{"spool.max_message", "not between 1B and 4032KiB"}},
		{"short window", "spool: {idempotency: {window: 1s}}\n", []string{"below the least, 15m"}},
		{"few receipts", "spool: {receipts: {limit: 1KiB}}\n", []string{"spool.receipts.limit", "below the least, 1MiB"}},
		{"few marks", "dedupe: {limit: 1KiB}\n", []string{"dedupe.limit", "below the least, 1MiB"}},
		{"backoff", "forwarder: {retry: {initial: 5s, max: 1s}}\n", []string{"forwarder.retry.max", "less than initial"}},
		{"log level", "log: {level: INFO}\n", []string{"log.level", "known are"}},

		{"retain with its place", "spool: {retain: always}\n", []string{"1:17: spool.retain", "or auto, or off"}},
		{"retain without a unit", "spool: {retain: 10}\n", []string{"spool.retain", "unit"}},
		{"retain nothing", "spool: {retain: 0s}\n", []string{"spool.retain", "off keeps nothing"}},
		{"encryption with the embedded broker", "broker: {type: embedded}\nspool: {encryption_key_file: k}\n", []string{"2:30: spool.encryption_key_file", "the embedded broker does not encrypt"}},
		{"rate of nothing", "forwarder: {rate: {orders: 0/s}}\n", []string{"1:28: forwarder.rate.orders", "is not a rate", "500/s"}},
		{"rate without a topic", "forwarder: {rate: 5}\n", []string{"forwarder.rate"}},
		{"failover", "forwarder: {ordering: {failover_after: soon}}\n", []string{"forwarder.ordering.failover_after", "never"}},
		{"on_dead", "forwarder: {ordering: {on_dead: wait}}\n", []string{"forwarder.ordering.on_dead", "known are"}},
		{"failover too soon", "forwarder: {ordering: {failover_after: 10ms}}\n", []string{"below the least"}},
		{"topic rate", "topics: {rate: {a: 1/day}}\n", []string{"topics.rate.a", "is not a rate"}},
		{"topic rate of no topic", "topics: {rate: {\"a b\": 1/s}}\n", []string{"topics.rate", "a b"}},
		{"allowed topic", "topics: {allow: [\"a b\"]}\n", []string{"topics.allow[0]", "a b"}},
		{"rate of a topic that is not allowed", "topics: {allow: [a], rate: {b: 1/s}}\n", []string{"topics.rate.b", "topics.allow"}},
		{"priority", "topics: {priority: {a: 0}}\n", []string{"topics.priority.a", "not between 1 and 100"}},
		{"priority of a word", "topics: {priority: {a: high}}\n", []string{"topics.priority"}},
		{"priority of no topic", "topics: {priority: {\"a b\": 2}}\n", []string{"topics.priority", "a b"}},
		{"delay", "topics: {delay: {a: brokr}}\n", []string{"topics.delay.a", "did you mean broker?"}},
		{"delay of no topic", "topics: {delay: {\"a b\": broker}}\n", []string{"topics.delay", "a b"}},
		{"delay at the embedded broker", "broker: {type: embedded}\ntopics: {delay: {a: broker}}\n", []string{"2:21: topics.delay.a", "the embedded broker has no timer"}},
		{"deliver", "memory: {deliver: 1023KiB}\n", []string{"memory.deliver", "below the least, 1MiB"}},
		{"a check URL", "transactions: {check_urls: ['127.0.0.1:8080']}\n", []string{"transactions.check_urls[0]", "http://host:port"}},
		{"a check URL of any host", "transactions: {check_urls: ['http://*:80']}\n", []string{"transactions.check_urls[0]"}},
		{"an adopted check URL", "transactions: {adopted_check_url: app}\n", []string{"transactions.adopted_check_url"}},
		{"a long adopted check URL", "transactions: {adopted_check_url: 'http://app:1/" + strings.Repeat("x", 2036) + "'}\n", []string{"transactions.adopted_check_url", "it has 2049 bytes, and 2048 are the most"}},
		{"ledger", "ledger: {keep: 59m}\n", []string{"ledger.keep", "below the least, 1h"}},
		{"a question for ever", "dedupe: {timeout: 1h}\n", []string{"dedupe.timeout", "not between"}},
		{"a certificate without its key", "dedupe: {redis: {cert_file: c}}\n", []string{"dedupe.redis.cert_file", "key_file"}},
		{"driver", "dedupe: {sql: {driver: mysqll, dsn_file: d}}\n", []string{"dedupe.sql.driver", "did you mean mysql?"}},
		{"a driver alone", "dedupe: {sql: {driver: mysql}}\n", []string{"dedupe.sql", "needs both"}},
		{"a dsn alone", "dedupe: {sql: {dsn_file: d}}\n", []string{"dedupe.sql", "needs both"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.yaml)
			wantProblem(t, err, append(tt.want, "remora.yaml:")...)
		})
	}
}

func TestBadSubscriptionsNameTheirPlace(t *testing.T) {
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"no name", "{topic: t, handler: 'http://localhost:1'}", []string{".name", "no name"}},
		{"group", "{name: 'a b'}", []string{".group", "character"}},
		{"long group", "{name: a, group: " + strings.Repeat("g", 101) + "}", []string{".group", "at most 100"}},
		{"no topic", "{name: a}", []string{".topic", "no topic"}},
		{"topic", "{name: a, topic: 'a b'}", []string{".topic", "character"}},
		{"pull with a timeout", "{name: a, topic: t, timeout: 3s}", []string{".timeout", "is about a handler"}},
		{"pull with statuses", "{name: a, topic: t, ack_statuses: [200]}", []string{".ack_statuses", "is about a handler"}},
		{"remote pull", "{name: a, topic: t, remote: true}", []string{".remote", "is about a handler"}},
		{"pull with readiness", "{name: a, topic: t, readiness: 'http://127.0.0.1/ready'}", []string{".readiness", "is about a handler"}},
		{"readiness far away", "{handler: 'http://127.0.0.1/', readiness: 'http://10.0.0.1/'}", []string{".readiness", "remote: true"}},
		{"readiness", "{handler: 'http://127.0.0.1/', readiness: '/ready'}", []string{".readiness", "http://127.0.0.1:8080/ready"}},
		{"too many held", "{name: a, topic: t, max_held: 25}", []string{".max_held"}},
		{"scheme", "{handler: 'ftp://x/'}", []string{".handler", "http or https"}},
		{"credentials", "{handler: 'http://u:hush@127.0.0.1/'}", []string{".handler", "credentials"}},
		{"far away", "{handler: 'http://10.0.0.1/'}", []string{".handler", "remote: true"}},
		{"far away by name", "{handler: 'http://billing/'}", []string{".handler", "remote: true"}},
		{"block without order", "{retry: {on_exhausted: block}}", []string{".retry.on_exhausted", "set ordered: true"}},
		{"exhausted", "{ordered: true, retry: {on_exhausted: drop}}", []string{".retry.on_exhausted", "neither block nor dead-letter"}},
		{"instance", "{instance: pod-0}", []string{".instance", "set broadcast: true"}},
		{"bad instance", "{broadcast: true, instance: pod.0}", []string{".instance", "pod.0", "character"}},
		{"long group of an instance", "{broadcast: true, group: " + strings.Repeat("g", 90) + "}", []string{".group", "with its instance"}},
		{"signing what is pulled", "{signing_secret_file: x}", []string{".signing_secret_file", "is about a handler"}},
		{"redis", "{dedupe: {store: redis}}", []string{".dedupe.store", "dedupe.redis.url_file"}},
		{"on error", "{dedupe: {store: redis, on_error: skip}}", []string{".dedupe.on_error", "not known"}},
		{"on error of nothing", "{dedupe: {on_error: pass}}", []string{".dedupe.on_error", "local has no server"}},
		{"sql", "{dedupe: {store: sql}}", []string{".dedupe.store", "dedupe.sql.dsn_file"}},
		{"store", "{dedupe: {store: lokal}}", []string{".dedupe.store", "did you mean local?"}},
		{"key", "{dedupe: {key: order_id}}", []string{".dedupe.key", "property:NAME"}},
		{"empty property", "{dedupe: {key: 'property:'}}", []string{".dedupe.key", "property:NAME"}},
		{"only a tag", "{dedupe: {key: 'property:+tag'}}", []string{".dedupe.key", "property:NAME"}},
		{"window", "{dedupe: {window: 1ms}}", []string{".dedupe.window", "below the least, 1s"}},
		{"window within a call", "{timeout: 2h, dedupe: {window: 1h}}", []string{".dedupe.window", "timeout, 2h"}},
		{"window of nothing", "{dedupe: {store: off, window: 1h}}", []string{".dedupe.window", "off keeps no marks"}},
		{"202", "{handler: 'http://127.0.0.1/', ack_statuses: [200, 202]}", []string{".ack_statuses", "202 cannot mean"}},
		{"404", "{handler: 'http://127.0.0.1/', ack_statuses: [404]}", []string{".ack_statuses", "404 cannot mean"}},
		{"no hold", "{max_hold: 1ms}", []string{".max_hold", "below the least, 1s"}},
		{"from", "{from: yesterday}", []string{".from", "neither first"}},
		{"sql of the embedded broker", "{filter: {sql: 'a > 1'}}", []string{".filter.sql", "enablePropertyFilter"}},
		{"filters", "{filter: {tags: [a], sql: 'a > 1'}}", []string{".filter", "not by both"}},
		{"concurrency", "{concurrency: -1}", []string{".concurrency", "not between"}},
		{"retry", "{retry: {initial: 1h, max: 1m}}", []string{".retry.max", "less than"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, embedded+"subscriptions:\n  - "+tt.yaml+"\n")
			wantProblem(t, err, append(tt.want, "remora.yaml:3:", "subscriptions[0].")...)
		})
	}
}

func TestSubscriptionsAreApart(t *testing.T) {
	one := "  - {name: a, topic: t, handler: 'http://localhost:1'}\n"
	_, err := load(t, embedded+"subscriptions:\n"+one+one)
	wantProblem(t, err, "remora.yaml:4:12: subscriptions[1].name", "subscriptions[0] too")
	_, err = load(t, embedded+"subscriptions:\n"+one+strings.Replace(one, "name: a", "name: b, group: a", 1))
	wantProblem(t, err, "subscriptions[1].group", "subscriptions[0] too")
}

func TestAllProblemsComeAtOnce(t *testing.T) {
	_, err := load(t, "log: {level: loud}\nspool:\n  dri: x\n  limit: 5\n", env("REMORA_DRAIN_TIMEOUT=1"), set("a.b=c"))
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != 6 {
		t.Fatalf("want 6 problems:\n%v", err)
	}
	for i, want := range []string{"broker.type", "log.level", "spool.dri", "spool.limit", "env REMORA_DRAIN_TIMEOUT", "--set a.b"} {
		if !strings.Contains(problems[i].Error(), want) {
			t.Errorf("problem %d is %v, want %s", i, problems[i], want)
		}
	}
}

func TestLayersOverrideEachOther(t *testing.T) {
	yaml := embedded + "spool: {dir: '${HOME}/spool'}\nlog: {level: warn, format: text}\ndrain: {timeout: '${DRAIN:-7s}'}\n"
	l := mustLoad(t, yaml, env("HOME=/home/r", "REMORA_LOG_LEVEL=error", "REMORA_LOG_FORMAT=json", "REMORA_LISTEN_DATA=127.0.0.1:1, 127.0.0.1:2"),
		set("log.format=text", "listen.admin=127.0.0.1:9", "listen.hosts=[a, b]"))
	got := map[string]string{}
	for _, s := range l.Settings() {
		got[s.Path] = s.Value + " " + s.Origin
	}
	for path, want := range map[string]string{
		"spool.dir":       "/home/r/spool remora.yaml:2:14",
		"log.level":       "error env REMORA_LOG_LEVEL",
		"log.format":      "text --set log.format",
		"listen.data":     "[127.0.0.1:1, 127.0.0.1:2] env REMORA_LISTEN_DATA",
		"listen.admin":    "127.0.0.1:9 --set listen.admin",
		"listen.hosts":    "[a, b] --set listen.hosts",
		"listen.health":   "127.0.0.1:7602 default",
		"drain.timeout":   "7s remora.yaml:4:18",
		"spool.limit":     "1GiB default",
		"forwarder.rate":  "{} default",
		"spool.lock_wait": "30s default",
	} {
		if got[path] != want {
			t.Errorf("%s is %s, want %s", path, got[path], want)
		}
	}
}

func TestSubscriptionsFromAFlag(t *testing.T) {
	l := mustLoad(t, embedded, set(`subscriptions=[{name: a, topic: t, handler: "http://127.0.0.1:1/"}]`))
	if s := l.Subscriptions; len(s) != 1 || s[0].Name != "a" {
		t.Errorf("%+v", s)
	}
	_, err := load(t, embedded, set(`subscriptions=[{name: a, tpoic: t}]`))
	wantProblem(t, err, "--set subscriptions", "tpoic", "did you mean topic?")
}

func TestUnknownVariablesAreOnlyWarnings(t *testing.T) {
	l := mustLoad(t, embedded, env("REMORA_SPOOL_DRI=/x", "REMORA_PORT=tcp://10.0.0.1", "REMORA_URL=http://x", "REMORA_ADMIN_URL=http://x", "REMORA_TEST_LONG=1"))
	if len(l.Warnings) != 2 || !strings.Contains(l.Warnings[1], "did you mean REMORA_SPOOL_DIR?") {
		t.Errorf("%q", l.Warnings)
	}
}

func TestAVariableNeverBecomesAKey(t *testing.T) {
	l := mustLoad(t, embedded+"spool: {dir: \"${EVIL}\"}\n", env("EVIL=x}\nlog: {level: debug"))
	if l.Spool.Dir != "x}\nlog: {level: debug" || l.Log.Level != "info" {
		t.Errorf("%+v", l.Spool.Dir)
	}
	l = mustLoad(t, embedded+"spool: {dir: '$${HOME}'}\n")
	if l.Spool.Dir != "${HOME}" {
		t.Errorf("%q", l.Spool.Dir)
	}
}

func TestSecretsAreHidden(t *testing.T) {
	l, _ := load(t, embedded+"subscriptions: [{handler: 'http://u:hush@127.0.0.1/'}]\n")
	for _, s := range l.Settings() {
		if strings.Contains(s.Value, "hush") {
			t.Errorf("%s shows %s", s.Path, s.Value)
		}
	}
}

func TestNoFile(t *testing.T) {
	_, err := config.Load(config.Sources{File: filepath.Join(t.TempDir(), "none.yaml")})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "config init") {
		t.Error(err)
	}
}

func TestUnitsAreWrittenAsTheyAreRead(t *testing.T) {
	for text, want := range map[string]config.Size{"0B": 0, "1B": 1, "1KiB": 1 << 10, "1.5MiB": 3 << 19, "2 GiB": 2 << 30, "1TiB": 1 << 40, "5MB": 5e6} {
		var s, again config.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, %v", text, s, err)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Errorf("%s is written %s", text, s)
		}
	}
	for text, want := range map[string]string{"24h": "24h", "90s": "1m30s", "60m": "1h", "1h0m1s": "1h0m1s", "2d": "48h", "100ms": "100ms", "0s": "0s"} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != want {
			t.Errorf("%s is written %s, want %s (%v)", text, d, want, err)
		}
	}
}

func TestStart(t *testing.T) {
	latest, at, err := config.Subscription{From: "2026-01-02T03:04:05Z"}.Start()
	if latest || err != nil || !at.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Error(latest, at, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(config.Sample)
	f.Add("spool:\n  dir: ${X:-y}\nsubscriptions: [{name: a}]")
	f.Add("? [a]: b\n")
	f.Fuzz(func(_ *testing.T, yaml string) {
		l, _ := config.Load(config.Sources{File: "f", Data: []byte(yaml), Set: []string{"listen.data=" + yaml}})
		if l != nil {
			_ = l.Settings()
		}
	})
}

// What a file that is no YAML would have said is not known to be missing.
func TestBrokenYAMLIsTheOnlyComplaint(t *testing.T) {
	_, err := load(t, "broker:\n  type: embedded\n bad: [\n")
	var problems config.Problems
	if !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(problems[0].Error(), "not YAML") {
		t.Errorf("want only the syntax:\n%v", err)
	}
}

func TestRates(t *testing.T) {
	for text, want := range map[string]string{"500": "500/s", "500/s": "500/s", "0.5": "30/m", "90/m": "1.5/s", "10/h": "10/h"} {
		var r config.Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != want {
			t.Errorf("%s: %s %v, want %s", text, r, err, want)
		}
	}
	for _, text := range []string{"", "/s", "5/", "-1/s", "0/s", "NaN/s", "Inf/s", "1e99/s", "5/d", "five/s"} {
		var r config.Rate
		if err := r.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s", text, r)
		}
	}
}

// TestSampleNamesEveryKey: what can be written is in the sample, in a comment at least.
func TestSampleNamesEveryKey(t *testing.T) {
	words := strings.FieldsFunc(config.Sample, func(r rune) bool { return strings.ContainsRune(" \n\t{},#", r) })
	for _, key := range keysOf(reflect.TypeFor[config.Config](), map[reflect.Type]bool{}) {
		if !slices.Contains(words, key+":") {
			t.Errorf("the sample has no %s", key)
		}
	}
}

func keysOf(typ reflect.Type, seen map[reflect.Type]bool) (keys []string) {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || seen[typ] {
		return nil
	}
	seen[typ] = true
	for field := range typ.Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if key == "" || key == "-" {
			continue
		}
		keys = append(append(keys, key), keysOf(field.Type, seen)...)
	}
	return keys
}
