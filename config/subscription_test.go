package config_test

import (
	"strings"
	"testing"

	"github.com/remora-mq/remora/config"
)

func TestBroadcastHasAGroupOfEachInstance(t *testing.T) {
	for _, c := range []struct {
		sub  config.Subscription
		want string
	}{
		{config.Subscription{Name: "prices"}, "prices"},
		{config.Subscription{Name: "prices", Broadcast: true}, "prices-at-0a1b2c3d4e"},
		{config.Subscription{Name: "prices", Group: "g", Broadcast: true, Instance: "pod-1"}, "g-at-pod-1"},
	} {
		if got := c.sub.WithDefaults(config.Hour).OfInstance("0A1B2C3D4E").Group; got != c.want {
			t.Errorf("%+v: %s, want %s", c.sub, got, c.want)
		}
	}
}

func TestOrderedBlocksUnlessToldOtherwise(t *testing.T) {
	for _, c := range []struct {
		sub  config.Subscription
		want string
	}{
		{config.Subscription{}, config.ExhaustedDeadLetter},
		{config.Subscription{Ordered: true}, config.ExhaustedBlock},
		{config.Subscription{Ordered: true, Retry: config.SubscriptionRetry{OnExhausted: config.ExhaustedDeadLetter}}, config.ExhaustedDeadLetter},
	} {
		if got := c.sub.WithDefaults(config.Hour).Retry.OnExhausted; got != c.want {
			t.Errorf("ordered %t: %s, want %s", c.sub.Ordered, got, c.want)
		}
	}
	if !strings.Contains(config.Sample, "on_exhausted") {
		t.Error("the sample does not tell")
	}
}
