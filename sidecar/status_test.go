package sidecar_test

import (
	"slices"
	"testing"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/test/ports"
)

// The status says of each part how it is, and since when: here without a broker.
func TestStatusTellsOfAllParts(t *testing.T) {
	c := embedded(t)
	c.Drain.Timeout = 300 * config.Millisecond
	c.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{ports.Free(t)}}}
	c.Subscriptions = []config.Subscription{{Name: "billing", Topic: "orders", Handler: "http://" + ports.Free(t) + "/", Concurrency: 1}}
	r := start(t, c)
	read := func() (s sidecar.Status) {
		if got := r.operate("GET", "/v1/status", "", &s); got != 200 {
			t.Fatal(got)
		}
		return s
	}
	is := func(s sidecar.Status, name admin.Condition) bool {
		return slices.ContainsFunc(s.Conditions, func(one admin.ConditionStatus) bool {
			return one.Name == name && one.Is && one.Since != nil && !one.StopsAccept
		})
	}
	eventually(t, "a group that cannot be joined", func() bool {
		s := read()
		one := s.Subscriptions[0]
		return is(s, admin.NotJoined) && one.State == "not_joined" && len(one.HeldUp) == 1 && one.HeldUp[0].Detail != "" && !one.HeldUp[0].Since.IsZero()
	})
	if s := read(); s.Brokers == nil || !s.Brokers.Up || len(s.Brokers.Failing) > 0 || len(s.Conditions) != 1 ||
		len(s.Dedupe) != 1 || s.Dedupe[0].Store != config.DedupeLocal || s.Dedupe[0].Local.Window != 24*60*60 {
		t.Errorf("at rest: %+v, dedupe %+v", s, s.Dedupe)
	}
	if status, _ := r.post("t", "body", ""); status != 202 {
		t.Fatal(status)
	}
	eventually(t, "a broker that is away", func() bool {
		s := read()
		return !s.Brokers.Up && s.Forwarder.Failing == 1 && s.Spool.DrainSeconds == nil && is(s, admin.Broker)
	})
	if s := read(); s.Forwarder.AttemptsLimit <= 0 || s.Forwarder.AttemptsLimit > c.Forwarder.Concurrency || s.Spool.Messages.Held() != 1 {
		t.Errorf("in an outage: %+v, %+v", s.Forwarder, s.Spool)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
