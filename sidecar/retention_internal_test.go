package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
)

// askedCluster answers as the test says.
type askedCluster struct {
	brokers map[string]map[string]string
	err     error
}

func (c *askedCluster) ask(context.Context) (all []rocketmq.BrokerConfig, err error) {
	for name, settings := range c.brokers {
		all = append(all, rocketmq.BrokerConfig{Name: name, Settings: settings})
	}
	return all, c.err
}

var (
	soundBroker = map[string]string{"flushDiskType": "SYNC_FLUSH", "brokerRole": "SYNC_MASTER", "inSyncReplicas": "2"}
	asyncBroker = map[string]string{"flushDiskType": "ASYNC_FLUSH", "brokerRole": "SYNC_MASTER", "inSyncReplicas": "2"}
)

// What is not known to be durable is kept; the decision follows the brokers, and
// is told.
func TestRetentionFollowsTheBrokers(t *testing.T) {
	c := &askedCluster{err: errors.New("no name server answers")}
	keeps := true
	r := newRetention(func(keep bool) { keeps = keep }, 10*config.Minute, slog.New(slog.DiscardHandler))
	for _, step := range []struct {
		what    string
		brokers map[string]map[string]string
		err     error
		want    string // why it is kept; "": it is not
	}{
		{"nobody answers", nil, c.err, "no name server answers"},
		{"no broker", nil, nil, "no broker that is a master"},
		{"one that flushes", map[string]map[string]string{"a": soundBroker}, nil, ""},
		{"one that does not joins", map[string]map[string]string{"a": soundBroker, "b": asyncBroker}, nil, "b answers SEND_OK before a message is on its disk"},
		{"it is gone, and may come back", map[string]map[string]string{"a": soundBroker}, nil, "b answers SEND_OK before"},
		{"it is back, and flushes", map[string]map[string]string{"a": soundBroker, "b": soundBroker}, nil, ""},
		{"nobody answers any more", nil, c.err, "no name server answers"},
		{"all is well again", map[string]map[string]string{"a": soundBroker}, nil, ""},
	} {
		c.brokers, c.err = step.brokers, step.err
		r.hear(c.ask(t.Context()))
		got := r.told.Load()
		if keeps != (step.want != "") || got.Keeps != keeps || !strings.Contains(got.Why, step.want) || got.Why == "" || keeps != (got.For == "10m") {
			t.Errorf("%s: keeps %v, told %+v", step.what, keeps, *got)
		}
	}
}
