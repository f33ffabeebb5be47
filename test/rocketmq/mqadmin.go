package rocketmq

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const adminTimeout = 60 * time.Second

// MQAdmin runs RocketMQ's admin tool against the cluster's name servers, for
// example MQAdmin("queryMsgByUniqueKey", "-t", topic, "-i", messageID), and
// returns what it printed, after about 5 s. Most commands print a failure and
// still end well, so look at the output.
func (c *Cluster) MQAdmin(args ...string) (string, error) {
	tool := program{
		lib:  c.lib,
		home: filepath.Join(c.dir, "mqadmin"),
		jvm:  []string{"-Xmx128m", "-Drocketmq.namesrv.addr=" + strings.Join(c.NameServerAddrs(), ";")},
		main: "org.apache.rocketmq.tools.command.MQAdminStartup",
		args: args,
	}
	if err := tool.prepare(); err != nil {
		return "", fmt.Errorf("run mqadmin: %w", err)
	}
	var out bytes.Buffer
	p, err := startProcess(tool.command(&out))
	if err != nil {
		return "", fmt.Errorf("run mqadmin: %w", err)
	}
	if err := p.within(adminTimeout); err != nil {
		return out.String(), fmt.Errorf("mqadmin %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// within waits for the end, and kills a process that takes longer than limit.
func (p *process) within(limit time.Duration) error {
	select {
	case <-p.exited:
		return p.err
	case <-time.After(limit):
		return errors.Join(fmt.Errorf("killed after %v", limit), p.kill())
	}
}
