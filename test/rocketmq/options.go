package rocketmq

import "fmt"

// Role is a broker's brokerRole. A cluster has no slaves.
type Role string

const (
	// AsyncMaster waits for no slave.
	AsyncMaster Role = "ASYNC_MASTER"
	// SyncMaster waits for a slave, and without one answers
	// SLAVE_NOT_AVAILABLE to a message it has stored.
	SyncMaster Role = "SYNC_MASTER"
)

// FlushDisk is a broker's flushDiskType: when a message is on disk.
type FlushDisk string

const (
	// SyncFlush has it there before SEND_OK.
	SyncFlush FlushDisk = "SYNC_FLUSH"
	// AsyncFlush has it there some time after SEND_OK.
	AsyncFlush FlushDisk = "ASYNC_FLUSH"
)

// Options says what a cluster consists of. The zero value is one name server
// and one broker.
type Options struct {
	// Dir holds everything the nodes write, and is left behind for a look.
	// Empty: t.TempDir() with Start, a folder that Close removes with New.
	Dir string
	// NameServers is how many name servers run; 0 means 1.
	NameServers int
	// Brokers are masters with names of their own; none means one.
	Brokers []BrokerOptions
	// AutoCreateTopic lets brokers create a topic that a producer names first.
	// Off by default, as in production.
	AutoCreateTopic bool
}

// BrokerOptions describes one broker.
type BrokerOptions struct {
	// Name is the brokerName; empty means broker-a, broker-b, … by position.
	Name string
	// Role is AsyncMaster if empty.
	Role Role
	// FlushDisk is SyncFlush if empty.
	FlushDisk FlushDisk
	// Host is the address of this machine under which clients are told to find
	// the broker; it listens on 127.0.0.1 alone. Empty: there. With another one,
	// as 127.0.0.2, a test can put itself between: see [Broker.Advertised].
	Host string
	// Extra lines for broker.conf; they win over the package's own.
	Extra map[string]string
}

func (o Options) withDefaults() Options {
	o.NameServers = max(o.NameServers, 1)
	brokers := make([]BrokerOptions, max(len(o.Brokers), 1))
	copy(brokers, o.Brokers)
	for i := range brokers {
		brokers[i] = brokers[i].withDefaults(i)
	}
	o.Brokers = brokers
	return o
}

func (b BrokerOptions) withDefaults(position int) BrokerOptions {
	if b.Name == "" {
		b.Name = fmt.Sprintf("broker-%c", 'a'+position)
	}
	if b.Role == "" {
		b.Role = AsyncMaster
	}
	if b.FlushDisk == "" {
		b.FlushDisk = SyncFlush
	}
	if b.Host == "" {
		b.Host = loopback
	}
	return b
}
