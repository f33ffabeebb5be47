package rocketmq

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// Broker is a running or ended broker, a master without slaves.
type Broker struct {
	Node
	host        string
	nameServers []*NameServer
}

func newBroker(o Options, b BrokerOptions, dir, lib string, ports *portBlock, nameServers []*NameServer) (*Broker, error) {
	conf := filepath.Join(dir, "broker.conf")
	broker := &Broker{host: b.Host, nameServers: nameServers, Node: Node{
		name:  b.Name,
		ports: ports,
		program: program{
			lib:  lib,
			home: dir,
			jvm: []string{"-Xms256m", "-Xmx512m", "-XX:MaxDirectMemorySize=512m",
				"--add-opens=java.base/java.nio=ALL-UNNAMED"},
			main: "org.apache.rocketmq.broker.BrokerStartup",
			args: []string{"-c", conf},
		},
	}}
	broker.ready = broker.registered
	properties := brokerProperties(dir, ports, nameServers)
	properties["brokerName"] = b.Name
	properties["brokerRole"] = string(b.Role)
	properties["flushDiskType"] = string(b.FlushDisk)
	properties["autoCreateTopicEnable"] = strconv.FormatBool(o.AutoCreateTopic)
	properties["brokerIP1"] = b.Host
	maps.Copy(properties, b.Extra)
	return broker, broker.prepare(conf, properties)
}

// brokerProperties keeps files small (mapped files are sparse, but an orderly
// stop flushes them) and recovery after lost name servers quick.
func brokerProperties(dir string, ports *portBlock, nameServers []*NameServer) map[string]string {
	store := filepath.Join(dir, "store")
	return map[string]string{
		"brokerClusterName":          "DefaultCluster",
		"brokerId":                   "0",
		"namesrvAddr":                strings.Join(addrs(nameServers), ";"),
		"brokerIP2":                  "127.0.0.1",
		"bindAddress":                "127.0.0.1",
		"listenPort":                 strconv.Itoa(ports.main),
		"haListenPort":               strconv.Itoa(ports.ha),
		"storePathRootDir":           store,
		"storePathCommitLog":         filepath.Join(store, "commitlog"),
		"mappedFileSizeCommitLog":    strconv.Itoa(64 << 20),
		"mappedFileSizeConsumeQueue": strconv.Itoa(20 * 30_000), // 20 B an entry
		"maxHashSlotNum":             "50000",
		"maxIndexNum":                "200000",
		"enablePropertyFilter":       "true",
		"registerNameServerPeriod":   "10000", // ms; the least the broker accepts
		// Each flush of the timers compares a file of 38 MB byte by byte (TimerWheel.flush):
		// once a second, as by default, a fifth of a core. What a broker's start reads anew of
		// its log makes up for it.
		"timerFlushIntervalMs": "60000",
		// A nearly full disk of the machine must not make it delete messages.
		"cleanFileForciblyEnable": "false",
		"fileReservedTime":        "720", // h
	}
}

// Advertised is the host:port that name servers tell clients. It is Addr unless
// BrokerOptions.Host says otherwise: then nobody listens there, but for the test.
func (b *Broker) Advertised() string { return net.JoinHostPort(b.host, strconv.Itoa(b.ports.main)) }

// registered fails unless the broker answers, and every name server that serves
// leads to it. A broker has a topic of its own name (TopicConfigManager.init).
func (b *Broker) registered() error {
	if _, err := b.MaxOffset(b.name, 0); err != nil {
		return err
	}
	err := b.visible(b.name, 0)
	if err != nil {
		err = errors.Join(err, b.register())
	}
	return err
}

// register has the broker register now. By itself it often waits 10 s: at its
// start it passes over name servers that it has not connected to yet
// (NettyRemotingClient.scanAvailableNameSrv runs beside BrokerController.start).
// It does register whenever brokerPermission is set, to the same value too
// (AdminBrokerProcessor.updateBrokerConfig).
func (b *Broker) register() error {
	const key = "brokerPermission"
	answer, err := call(b.Addr(), reqReadConfig, nil, nil)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(answer.body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return b.UpdateConfig(key, value)
		}
	}
	return fmt.Errorf("config of %s has no %s", b.name, key)
}

// visible fails unless every name server that serves leads to topic on b.
func (b *Broker) visible(topic string, queues int) error {
	for _, ns := range serving(b.nameServers) {
		if err := ns.leadsTo(b, topic, queues); err != nil {
			return err
		}
	}
	return nil
}

func addrs(nameServers []*NameServer) []string {
	all := make([]string, len(nameServers))
	for i, ns := range nameServers {
		all[i] = ns.Addr()
	}
	return all
}
