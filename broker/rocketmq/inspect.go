package rocketmq

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Inspector asks a cluster what it is. It joins no group and sends no message.
// Methods may be called from many goroutines.
type Inspector struct {
	names    nameServers
	remoting *remoting
}

// NewInspector contacts nobody. The caller owes a Close.
func NewInspector(o ConsumerOptions) (*Inspector, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure rocketmq inspector: %w", err)
	}
	r := newRemoting(o.Keys)
	return &Inspector{nameServers{o.NameServers, r}, r}, nil
}

// Close closes the connections.
func (i *Inspector) Close() { i.remoting.close() }

// BrokerConfig is what a master says of itself.
type BrokerConfig struct {
	Name, Addr string
	Settings   map[string]string // by the names of broker.conf; nil after an error
	Err        error
}

// Brokers returns all masters that the first name server to answer knows, by
// name. A broker that does not answer has an Err.
func (i *Inspector) Brokers(ctx context.Context) ([]BrokerConfig, error) {
	masters, err := i.masters(ctx)
	if err != nil {
		return nil, err
	}
	var all []BrokerConfig
	for _, name := range slices.Sorted(maps.Keys(masters)) {
		b := BrokerConfig{Name: name, Addr: masters[name]}
		b.Settings, b.Err = i.settings(ctx, b.Addr)
		all = append(all, b)
	}
	return all, nil
}

// Topic returns nil when the topic has a queue on a broker that may be read.
func (i *Inspector) Topic(ctx context.Context, topic string) error {
	r, err := i.names.route(ctx, topic)
	if err == nil && len(r.readable()) == 0 {
		err = fmt.Errorf("topic %s has no queue that may be read", topic)
	}
	return err
}

// bareKey is a number that is the key of an object: brokers' and name servers'
// JSON does not quote it. Within a text no such thing follows a brace or comma:
// addresses have their host first.
var bareKey = regexp.MustCompile(`([{,])(\d+):`)

// masters asks for ClusterInfo, and returns the masters' addresses by name.
func (i *Inspector) masters(ctx context.Context) (map[string]string, error) {
	var failed error
	for _, addr := range i.names.addrs {
		answer, err := i.remoting.call(ctx, addr, newCommand(reqClusterInfo, nil, nil))
		if err != nil {
			failed = err
			continue
		}
		return readMasters(answer.body)
	}
	return nil, fmt.Errorf("ask for the brokers of the cluster: %w", failed)
}

func readMasters(body []byte) (map[string]string, error) {
	var info struct {
		Brokers map[string]struct {
			Addrs map[string]string `json:"brokerAddrs"` // by brokerId
		} `json:"brokerAddrTable"`
	}
	if err := json.Unmarshal(bareKey.ReplaceAll(body, []byte(`$1"$2":`)), &info); err != nil {
		return nil, fmt.Errorf("read the brokers of the cluster: %w", err)
	}
	masters := map[string]string{}
	for name, b := range info.Brokers {
		if addr := b.Addrs[masterID]; addr != "" {
			masters[name] = addr
		}
	}
	return masters, nil
}

// settings are lines of name=value, as java.util.Properties are written.
func (i *Inspector) settings(ctx context.Context, addr string) (map[string]string, error) {
	answer, err := i.remoting.call(ctx, addr, newCommand(reqBrokerConfig, nil, nil))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for line := range strings.Lines(string(answer.body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			all[name] = value
		}
	}
	return all, nil
}
