package rocketmq

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker"
)

// ProducerOptions say how to reach RocketMQ and how to send.
type ProducerOptions struct {
	// NameServers are host:port, with a DNS name or an address. Required. Names
	// are resolved at each connect.
	NameServers []string
	// Group is the producer group that tools show. Required.
	Group string
	// Instance begins the names of all client instances of this process; two
	// processes with the same one, on hosts of the same address, take each other
	// for one client. Empty: host name and process ID.
	Instance string
	// Keys are what requests are signed with from now on: a change of what it returns
	// counts without a restart. It is called often, from many goroutines. nil: nothing
	// is signed.
	Keys func() Keys
	// AttemptTimeout bounds one Send. 0 means 5 s. Of brokers that wait for a flush
	// or a slave longer than that, their answer that they have the message is lost,
	// and each attempt makes a copy: keep it above syncFlushTimeout (5 s) and
	// slaveTimeout (3 s) where those matter.
	AttemptTimeout time.Duration
	// Lanes is how many client instances share the topics, so that a stuck
	// connection of one does not hold up all. 0 means 2; at most 16.
	Lanes int
}

// ConsumerOptions say how to reach RocketMQ.
type ConsumerOptions struct {
	NameServers []string // as in ProducerOptions
	// Instance is as in ProducerOptions. With the name of an ordered subscription it
	// owns the locks of queues: who has both may consume what a predecessor had, and
	// others wait a minute after it was killed.
	Instance string
	Keys     func() Keys // as in ProducerOptions
}

const maxGroup = 100 // characters; longer makes a retry topic that clients cannot read

func (o ProducerOptions) withDefaults() (ProducerOptions, error) {
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = 5 * time.Second
	}
	if o.Lanes == 0 {
		o.Lanes = 2
	}
	o.Instance = instancePrefix(o.Instance)
	return o, errors.Join(
		validNameServers(o.NameServers), validGroup(o.Group), validKeys(o.Keys),
		check(o.AttemptTimeout > 0, "the attempt timeout is negative"),
		check(o.Lanes >= 1 && o.Lanes <= 16, "lanes: %d is not between 1 and 16", o.Lanes))
}

func (o ConsumerOptions) withDefaults() (ConsumerOptions, error) {
	o.Instance = instancePrefix(o.Instance)
	return o, errors.Join(validNameServers(o.NameServers), validKeys(o.Keys))
}

func validSubscription(s broker.Subscription) error {
	return errors.Join(validGroup(s.Group),
		check(s.Topic != "", "the subscription has no topic"),
		check(s.Concurrency >= 1 && s.Concurrency <= 100_000, "concurrency: %d is not between 1 and 100000", s.Concurrency),
		check(len(s.Tags) == 0 || s.SQL == "", "a subscription filters by tags or by SQL, not by both"))
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func validNameServers(addrs []string) error {
	if len(addrs) == 0 {
		return errors.New("no name server is configured")
	}
	for _, a := range addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("name server %q: want host:port: %w", a, err)
		}
	}
	return nil
}

func validKeys(keys func() Keys) error {
	now := keysOf(keys)()
	return check((now.Access == "") == (now.Secret == ""), "access key and secret key come together or not at all")
}

func validGroup(group string) error {
	illegal := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-%|", r))
	}
	switch {
	case group == "":
		return errors.New("the group is empty")
	case len(group) > maxGroup:
		return fmt.Errorf("the group has %d characters; at most %d are allowed", len(group), maxGroup)
	case strings.IndexFunc(group, illegal) >= 0:
		return fmt.Errorf("the group %q has a character other than letters, digits, '_', '-', '%%' and '|'", group)
	}
	return nil
}

// libraryAddrs makes the library take any host:port: it wants an IPv4 address
// (primitive/base.go:68-86) or the prefix, which it strips before dialling
// (internal/namesrv.go:143-146).
func libraryAddrs(addrs []string) []string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = "http://" + a
	}
	return all
}

func instancePrefix(configured string) string {
	if configured != "" {
		return configured
	}
	host, _ := os.Hostname() // "" is as good: the client ID has the address too
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

var instances atomic.Uint64

// newInstance returns a name that no other client instance of the process has.
// Instances of one name share connection, credentials and group membership
// (internal/client.go:195-226), and a stopped one cannot start again.
func newInstance(prefix, role string) string {
	return fmt.Sprintf("%s-%s-%d", prefix, role, instances.Add(1))
}
