package rocketmq

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Cluster is a set of name servers and of brokers that register at all of them.
// The slices are not to be changed.
type Cluster struct {
	NameServers []*NameServer
	Brokers     []*Broker

	lib    string
	dir    string
	remove bool // dir is ours
}

// Start gives t a cluster that ends with it, and writes the end of each node's
// logs to t's log if it failed. It is fatal if there is no Java, Maven or start.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Tail())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// New starts a cluster and returns when each node is ready, within seconds. The
// caller owes a Close.
func New(o Options) (*Cluster, error) {
	lib, err := Jars()
	if err != nil {
		return nil, err
	}
	c := &Cluster{lib: lib, dir: o.Dir, remove: o.Dir == ""}
	if err := c.open(o.withDefaults()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) open(o Options) error {
	if err := c.makeDir(); err != nil {
		return err
	}
	for i := range o.NameServers {
		if err := c.addNameServer(fmt.Sprintf("namesrv-%d", i)); err != nil {
			return err
		}
	}
	for _, b := range o.Brokers {
		if err := c.addBroker(o, b); err != nil {
			return err
		}
	}
	// A broker that finds no name server tries again only after 10 s.
	if err := startAll(c.NameServers); err != nil {
		return err
	}
	return startAll(c.Brokers)
}

func (c *Cluster) makeDir() (err error) {
	if c.remove {
		c.dir, err = os.MkdirTemp("", "rocketmq-")
	} else {
		c.dir, err = filepath.Abs(c.dir) // the JVMs run elsewhere
	}
	return err
}

func (c *Cluster) addNameServer(name string) error {
	ports, err := claimPorts()
	if err != nil {
		return err
	}
	ns, err := newNameServer(name, filepath.Join(c.dir, name), c.lib, ports)
	if err != nil {
		return errors.Join(err, ports.release())
	}
	c.NameServers = append(c.NameServers, ns)
	return nil
}

func (c *Cluster) addBroker(o Options, b BrokerOptions) error {
	ports, err := claimPorts()
	if err != nil {
		return err
	}
	broker, err := newBroker(o, b, filepath.Join(c.dir, b.Name), c.lib, ports, c.NameServers)
	if err != nil {
		return errors.Join(err, ports.release())
	}
	c.Brokers = append(c.Brokers, broker)
	return nil
}

func startAll[N interface{ Start() error }](nodes []N) error {
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = n.Start() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// NameServerAddrs are the host:port of all name servers, running or not.
func (c *Cluster) NameServerAddrs() []string { return addrs(c.NameServers) }

// AwaitRegistered returns once every broker that serves is known at every name
// server that serves, for example at one that came back. It has brokers register
// that would do so by themselves within 10 s.
func (c *Cluster) AwaitRegistered() error {
	for _, b := range c.Brokers {
		if !b.serves() {
			continue
		}
		if err := await(startTimeout, nil, b.registered); err != nil {
			return fmt.Errorf("await registration of %s: %w", b.name, err)
		}
	}
	return nil
}

// CreateTopic makes the topic with that many queues on each broker that serves,
// and returns once the name servers that serve lead clients to all of them.
func (c *Cluster) CreateTopic(t testing.TB, topic string, queues int) {
	t.Helper()
	made := 0
	for _, b := range c.Brokers {
		if !b.serves() {
			continue
		}
		if err := b.CreateTopic(topic, queues); err != nil {
			t.Fatal(err)
		}
		made++
	}
	if made == 0 {
		t.Fatalf("create topic %s: no broker is running", topic)
	}
}

// Close kills all nodes, gives their ports back and removes the folder unless it
// was named by Options. Again it does nothing.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.nodes() {
		errs = append(errs, n.Kill(), n.ports.release())
	}
	if c.remove {
		errs = append(errs, os.RemoveAll(c.dir))
	}
	return errors.Join(errs...)
}

func (c *Cluster) nodes() []*Node {
	var all []*Node
	for _, ns := range c.NameServers {
		all = append(all, &ns.Node)
	}
	for _, b := range c.Brokers {
		all = append(all, &b.Node)
	}
	return all
}
