package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
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
	return &Inspector{newNameServers(o.NameServers, r), r}, nil
}

// Close closes the connections.
func (i *Inspector) Close() { i.remoting.close() }

// BrokerConfig is what a master says of itself.
type BrokerConfig struct {
	Name, Addr string
	Settings   map[string]string // by the names of broker.conf; nil after an error
	Err        error
}

// ErrSilent is of a name server that takes connections, and does not answer.
var ErrSilent = errors.New("it accepts connections and does not answer")

// NameServer returns nil when the name server answers a question, whatever it says. An
// error that is not ErrSilent is of the connection.
func (i *Inspector) NameServer(ctx context.Context, addr string) error {
	_, err := i.remoting.call(ctx, addr, newCommand(reqClusterInfo, nil, nil))
	if _, answered := codeOf(err); answered {
		return nil
	}
	if err != nil && !certainlyNotSent(err) {
		return fmt.Errorf("%w: %w", ErrSilent, err)
	}
	return err
}

// Brokers returns all masters that the first name server to answer knows of any, by
// name. A broker that does not answer has an Err, and holds up no other.
func (i *Inspector) Brokers(ctx context.Context) ([]BrokerConfig, error) {
	masters, err := i.masters(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(masters))
	all := make([]BrokerConfig, len(names))
	var asking sync.WaitGroup
	for n, name := range names {
		b := &all[n]
		b.Name, b.Addr = name, masters[name]
		asking.Go(func() { b.Settings, b.Err = i.settings(ctx, b.Addr) })
	}
	asking.Wait()
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
	var found map[string]string
	err := i.names.ask(ctx, newCommand(reqClusterInfo, nil, nil), func(answer command) (err error) {
		if found, err = readMasters(answer.body); err == nil && len(found) == 0 {
			err = errNoMaster
		}
		return err
	})
	if err != nil && !errors.Is(err, errNoMaster) {
		return nil, fmt.Errorf("ask for the brokers of the cluster: %w", err)
	}
	return found, nil
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
