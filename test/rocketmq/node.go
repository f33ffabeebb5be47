package rocketmq

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/remora-mq/remora/bench/proc"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// Node is a name server or a broker: one JVM with fixed ports and one folder,
// through any number of ends and starts.
type Node struct {
	name    string
	program program
	ports   *portBlock
	ready   func() error // nil once the node does its work

	mu      sync.Mutex
	process *proc.Process // nil before the first Start
	paused  bool
}

func (n *Node) prepare(conf string, properties map[string]string) error {
	if err := n.program.prepare(); err != nil {
		return fmt.Errorf("prepare %s: %w", n.name, err)
	}
	return writeProperties(conf, properties)
}

// Name is the brokerName, or namesrv-0, namesrv-1 and so on.
func (n *Node) Name() string { return n.name }

// Addr is the host:port that clients use, the same over all starts.
func (n *Node) Addr() string { return n.ports.addr() }

// Alive reports whether the process exists, paused or not.
func (n *Node) Alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive()
}

func (n *Node) alive() bool { return n.process != nil && n.process.Alive() }

func (n *Node) serves() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.alive() && !n.paused
}

// Start returns once the node answers requests, and a broker is known at every
// name server that serves. It does nothing if the node is alive.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alive() {
		return nil
	}
	p, err := n.launch()
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.process, n.paused = p, false
	if err := await(startTimeout, p.Exited(), n.ready); err != nil {
		p.Kill()
		return fmt.Errorf("start %s: %w\n%s", n.name, err, n.tail())
	}
	return nil
}

func (n *Node) launch() (*proc.Process, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	out, err := os.OpenFile(filepath.Join(n.program.home, "out.log"), flags, 0o666)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	return proc.Start(n.program.command(out))
}

// Kill ends the process with SIGKILL and returns when it is gone. What the
// kernel holds of its files stays. It does nothing if the node is not alive.
func (n *Node) Kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.alive() {
		n.process.Kill()
	}
	return nil
}

// Stop ends the process in order, with SIGTERM, and returns when it is gone. A
// broker takes about 14 s for it; longer than 60 s is an error, and it is killed.
// Stop does nothing if the node is not alive.
func (n *Node) Stop() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.alive() {
		return nil
	}
	// A paused process takes its SIGTERM only when continued.
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGCONT} {
		if err := n.process.Signal(s); err != nil {
			return fmt.Errorf("stop %s: %w", n.name, err)
		}
	}
	select {
	case <-n.process.Exited():
		return nil
	case <-time.After(stopTimeout):
		n.process.Kill()
		return fmt.Errorf("stop %s: still there after %v", n.name, stopTimeout)
	}
}

// Pause freezes the process with SIGSTOP: connections stay open and nothing is
// answered, from its return until Resume.
func (n *Node) Pause() error { return n.freeze(true) }

// Resume lets a paused process continue.
func (n *Node) Resume() error { return n.freeze(false) }

func (n *Node) freeze(paused bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.alive() {
		return fmt.Errorf("pause or resume %s: it is not running", n.name)
	}
	n.paused = paused
	if paused {
		return n.process.Pause()
	}
	return n.process.Resume()
}
