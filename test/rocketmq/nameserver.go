package rocketmq

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
)

// NameServer is a running or ended name server.
type NameServer struct{ Node }

func newNameServer(name, dir, lib string, ports *portBlock) (*NameServer, error) {
	conf := filepath.Join(dir, "namesrv.conf")
	ns := &NameServer{Node{
		name:  name,
		ports: ports,
		program: program{
			lib:  lib,
			home: dir,
			jvm:  []string{"-Xms64m", "-Xmx128m"},
			main: "org.apache.rocketmq.namesrv.NamesrvStartup",
			args: []string{"-c", conf},
		},
	}}
	ns.ready = ns.answers
	return ns, ns.prepare(conf, map[string]string{
		"bindAddress": "127.0.0.1",
		"listenPort":  strconv.Itoa(ports.main),
	})
}

// Spare is a host:port that belongs to this name server and is not used by it:
// what a test listens on there, it may close and open again.
func (ns *NameServer) Spare() string { return net.JoinHostPort(loopback, strconv.Itoa(ns.ports.ha)) }

func (ns *NameServer) answers() error {
	_, err := call(ns.Addr(), reqClusterInfo, nil, nil)
	return err
}

// route is what a name server tells clients about a topic (TopicRouteData).
type route struct {
	BrokerDatas []struct {
		BrokerName  string            `json:"brokerName"`
		BrokerAddrs map[string]string `json:"brokerAddrs"` // by brokerId; 0 is the master
	} `json:"brokerDatas"`
	QueueDatas []struct {
		BrokerName     string `json:"brokerName"`
		WriteQueueNums int    `json:"writeQueueNums"`
	} `json:"queueDatas"`
}

// route fails if the topic is unknown. Without acceptStandardJsonOnly the map
// keys of the answer are not quoted (ClientRequestProcessor.getRouteInfoByTopic).
func (ns *NameServer) route(topic string) (route, error) {
	answer, err := call(ns.Addr(), reqRoute,
		map[string]string{"topic": topic, "acceptStandardJsonOnly": "true"}, nil)
	if err != nil {
		return route{}, err
	}
	var r route
	return r, json.Unmarshal(answer.body, &r)
}

// leadsTo fails unless the route of topic has queues on the broker, and its
// address. queues 0 means any number.
func (ns *NameServer) leadsTo(b *Broker, topic string, queues int) error {
	r, err := ns.route(topic)
	if err != nil {
		return fmt.Errorf("route of %s at %s: %w", topic, ns.name, err)
	}
	known := false
	for _, d := range r.BrokerDatas {
		known = known || d.BrokerName == b.name && d.BrokerAddrs["0"] == b.Advertised()
	}
	for _, q := range r.QueueDatas {
		if known && q.BrokerName == b.name && (queues == 0 || q.WriteQueueNums == queues) {
			return nil
		}
	}
	return fmt.Errorf("route of %s at %s does not lead to %s yet", topic, ns.name, b.name)
}

func serving(all []*NameServer) []*NameServer {
	return slices.DeleteFunc(slices.Clone(all), func(ns *NameServer) bool { return !ns.serves() })
}
