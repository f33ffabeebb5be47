package rocketmq

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/remora-mq/remora/bench/proc"
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
	p, err := proc.Start(tool.command(&out))
	if err != nil {
		return "", fmt.Errorf("run mqadmin: %w", err)
	}
	if err := within(adminTimeout, p); err != nil {
		return out.String(), fmt.Errorf("mqadmin %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// within waits for the end, and kills a process that takes longer than limit.
func within(limit time.Duration, p *proc.Process) error {
	select {
	case <-p.Exited():
		return p.Err()
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("killed after %v", limit)
	}
}
