package config

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Validate returns all that is wrong with the values, as Problems without a
// place; nil: the sidecar can run with them.
func (c *Config) Validate() error { return c.problems().err() }

func (c *Config) problems() (p Problems) {
	c.notYet(&p)
	c.listeners(&p)
	c.spool(&p)
	c.broker(&p)
	c.forwarder(&p)
	for i, s := range c.Subscriptions {
		path := fmt.Sprintf("subscriptions[%d]", i)
		s.problems(&p, path, c.Dedupe)
		if s.Filter.SQL != "" && c.Broker.Type == BrokerEmbedded {
			p.addf(path+".filter.sql", "the embedded broker has no SQL filters: filter by tags, or use a RocketMQ with enablePropertyFilter=true")
		}
	}
	c.distinct(&p)
	c.Topics.problems(&p)
	c.delays(&p)
	p.atLeast("memory.ingest", c.Memory.Ingest, KiB)
	p.atLeast("memory.deliver", c.Memory.Deliver, MiB)
	p.atLeast("ledger.keep", c.Ledger.Keep, Hour)
	c.Dedupe.problems(&p)
	c.Transactions.problems(&p)
	p.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	p.oneOf("log.format", c.Log.Format, "json", "text")
	return p
}

// notYet refuses what this version would otherwise ignore.
func (c *Config) notYet(p *Problems) {
	neutral := Default()
	now := map[string]reflect.Value{}
	for _, leaf := range leavesOf(&neutral) {
		now[leaf.path] = leaf.value
	}
	for _, leaf := range leavesOf(c) {
		why, ok := later[leaf.path]
		if ok && !isSame(leaf.value, now[leaf.path]) {
			p.addf(leaf.path, "not supported yet: %s; leave the key out", why)
		}
	}
}

func isSame(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice || a.Kind() == reflect.Map {
		return a.Len() == 0 && b.Len() == 0
	}
	return a.Equal(b)
}

func (c *Config) listeners(p *Problems) {
	if len(c.Listen.Data) == 0 {
		p.addf("listen.data", "there is no address; write host:port or unix:///path.sock")
	}
	for i, addr := range c.Listen.Data {
		path := fmt.Sprintf("listen.data[%d]", i)
		if file, ok := strings.CutPrefix(addr, "unix://"); ok {
			p.socket(path, file)
			continue
		}
		p.address(path, addr, true)
		if c.Listen.TokenFile == "" {
			p.loopback(path, addr, "listen.token_file")
		}
	}
	p.address("listen.admin", c.Listen.Admin, true)
	if c.Listen.AdminTokenFile == "" {
		p.loopback("listen.admin", c.Listen.Admin, "listen.admin_token_file")
	}
	p.address("listen.health", c.Listen.Health, true)
	c.Listen.distinct(p)
}

// distinct wants an address for each listener.
func (l *Listen) distinct(p *Problems) {
	type place struct{ path, addr string }
	all := make([]place, 0, len(l.Data)+2)
	for i, addr := range l.Data {
		all = append(all, place{fmt.Sprintf("listen.data[%d]", i), addr})
	}
	all = append(all, place{"listen.admin", l.Admin}, place{"listen.health", l.Health})
	for i, one := range all {
		for _, former := range all[:i] {
			if sameAddress(former.addr, one.addr) {
				p.addf(one.path, "%s is taken by %s; write another port", one.addr, former.path)
				break
			}
		}
	}
}

// sameAddress reports two addresses of which a process can listen on one only. Port 0
// is another one each time.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || strings.HasPrefix(a, "unix://") {
		return a == b
	}
	every := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return portA == portB && portA != "0" && (hostA == hostB || every(hostA) || every(hostB))
}

// maxSocketPath is what fits into a sockaddr_un, with the "~" of its making.
const maxSocketPath = 106

func (p *Problems) socket(path, file string) {
	switch {
	case !strings.HasPrefix(file, "/"):
		p.addf(path, "a socket needs an absolute path, as unix:///run/remora/remora.sock")
	case len(file) > maxSocketPath:
		p.addf(path, "the path of a socket has at most %d bytes; this has %d", maxSocketPath, len(file))
	}
}

// address wants host:port; zero allows port 0, any free one.
func (p *Problems) address(path, addr string, zero bool) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		p.addf(path, "%q is not host:port", addr)
		return
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 && !zero {
		p.addf(path, "%q is not a port", port)
	}
}

// loopback refuses an address that others can reach.
func (p *Problems) loopback(path, addr, tokenKey string) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.Unmap().IsLoopback() {
		p.addf(path, "%s can be reached by others and no token is set; set %s, or listen on 127.0.0.1", addr, tokenKey)
	}
}

// mostBatchMessages is what one commit has room for, whatever the messages carry:
// a batch is stored as a whole. On a small volume it is less (/v1/status tells).
const mostBatchMessages = 1000

func (c *Config) spool(p *Problems) {
	s := c.Spool
	if s.Dir == "" {
		p.addf("spool.dir", "there is no directory")
	}
	p.atLeast("spool.limit", s.Limit, MiB)
	if _, err := s.Share(); err != nil {
		p.addf("spool.topic_share", "%v", err)
	}
	if _, _, err := s.ReserveSize(); err != nil {
		p.addf("spool.reserve", "%v", err)
	}
	p.within("spool.sync_timeout", s.SyncTimeout, 100*Millisecond, 10*Minute)
	p.within("spool.max_message", s.MaxMessage, Size(1), 4032*KiB)
	p.within("spool.max_batch.messages", s.MaxBatch.Messages, 1, mostBatchMessages)
	p.within("spool.max_batch.bytes", s.MaxBatch.Bytes, KiB, 256*MiB)
	if _, err := s.RetainFor(false); err != nil {
		p.addf("spool.retain", "%s", err)
	}
	p.atLeast("spool.receipts.keep", s.Receipts.Keep, Minute)
	p.atLeast("spool.receipts.max", s.Receipts.Max, 1)
	p.atLeast("spool.receipts.limit", s.Receipts.Limit, MiB)
	p.atLeast("spool.idempotency.window", s.Idempotency.Window, 15*Minute)
	p.atLeast("spool.idempotency.limit", s.Idempotency.Limit, MiB)
	if s.EncryptionKeyFile != "" && c.Broker.Type == BrokerEmbedded {
		p.addf("spool.encryption_key_file", "the embedded broker does not encrypt what it stores beside the spool; leave the key out, or use RocketMQ")
	}
}

func (c *Config) broker(p *Problems) {
	b := c.Broker
	switch b.Type {
	case BrokerEmbedded:
	case BrokerRocketMQ:
		if len(b.RocketMQ.NameServers) == 0 {
			p.addf("broker.rocketmq.name_servers", "there is no name server; write a list of host:port")
		}
	case "":
		p.addf("broker.type", "the broker is not named; write rocketmq, or embedded to keep all messages in this process")
	default:
		p.oneOf("broker.type", b.Type, BrokerRocketMQ, BrokerEmbedded)
	}
	for i, addr := range b.RocketMQ.NameServers {
		p.address(fmt.Sprintf("broker.rocketmq.name_servers[%d]", i), addr, false)
	}
	if b.RocketMQ.ProducerGroup != "" {
		p.group("broker.rocketmq.producer_group", b.RocketMQ.ProducerGroup)
	}
	if (b.RocketMQ.AccessKeyFile == "") != (b.RocketMQ.SecretKeyFile == "") {
		p.addf("broker.rocketmq", "access_key_file and secret_key_file come together or not at all")
	}
}

func (t Topics) problems(p *Problems) {
	p.atLeast("topics.max", t.Max, 1)
	for i, name := range t.Allow {
		p.published(fmt.Sprintf("topics.allow[%d]", i), name)
	}
	for name, weight := range t.Priority {
		path := "topics.priority." + name
		p.published(path, name)
		p.within(path, weight, 1, 100)
	}
	for name := range t.Rate {
		path := "topics.rate." + name
		p.published(path, name)
		if len(t.Allow) > 0 && !slices.Contains(t.Allow, name) {
			p.addf(path, "the topic is not one of topics.allow")
		}
	}
}

// published is the rule of message.ValidTopic for what is published to.
func (p *Problems) published(path, topic string) {
	if topic == "" || len(topic) > 127 || strings.Contains(topic, "%") || strings.IndexFunc(topic, illegal) >= 0 {
		p.addf(path, "%q is no topic; a topic has 1 to 127 letters, digits, '_' and '-'", topic)
	}
}

func (c *Config) forwarder(p *Problems) {
	f := c.Forwarder
	p.within("forwarder.concurrency", f.Concurrency, 1, 10_000)
	p.within("forwarder.batch.max_messages", f.Batch.MaxMessages, 1, 10_000)
	p.within("forwarder.batch.max_bytes", f.Batch.MaxBytes, KiB, 4*MiB)
	p.within("forwarder.attempt_timeout", f.AttemptTimeout, 100*Millisecond, 10*Minute)
	p.backoff("forwarder.retry", f.Retry.Initial, f.Retry.Max)
	if _, err := f.Ordering.After(); err != nil {
		p.addf("forwarder.ordering.failover_after", "%v", err)
	}
	p.oneOf("forwarder.ordering.on_dead", f.Ordering.OnDead, OnDeadSkip, OnDeadBlock)
	for name := range f.Rate {
		p.published("forwarder.rate."+name, name)
	}
}

func (p *Problems) backoff(path string, initial, most Duration) {
	p.atLeast(path+".initial", initial, Millisecond)
	if most < initial {
		p.addf(path+".max", "%s is less than initial, which is %s", most, initial)
	}
}

func (p *Problems) within(path string, v, least, most any) {
	if number(v) < number(least) || number(v) > number(most) {
		p.addf(path, "%v is not between %v and %v", v, least, most)
	}
}

func (p *Problems) atLeast(path string, v, least any) {
	if number(v) < number(least) {
		p.addf(path, "%v is below the least, %v", v, least)
	}
}

func number(v any) int64 { return reflect.ValueOf(v).Int() }

func (p *Problems) oneOf(path, v string, known ...string) {
	if !slices.Contains(known, v) {
		p.addf(path, "%q is not known%s", v, meant(v, known))
	}
}

// distinct refuses two subscriptions of one name, and two of one group.
func (c *Config) distinct(p *Problems) {
	names, groups := map[string]int{}, map[string]int{}
	for i, s := range c.Subscriptions {
		s = s.WithDefaults(c.Dedupe.Window)
		path := fmt.Sprintf("subscriptions[%d]", i)
		if j, taken := names[s.Name]; taken && s.Name != "" {
			p.addf(path+".name", "%q is the name of subscriptions[%d] too", s.Name, j)
		} else if j, taken := groups[s.Group]; taken && s.Group != "" {
			p.addf(path+".group", "%q is the group of subscriptions[%d] too; a group consumes one topic", s.Group, j)
		}
		names[s.Name], groups[s.Group] = i, i
	}
}
