package rocketmq

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const tailLines = 30

// Tail is the end of each node's logs, to print when a test fails.
func (c *Cluster) Tail() string {
	var all strings.Builder
	for _, n := range c.nodes() {
		all.WriteString(n.tail())
	}
	return all.String()
}

func (n *Node) tail() string {
	var all strings.Builder
	for _, log := range []string{"out.log", "rocketmq.log"} {
		file := filepath.Join(n.program.home, log)
		content, err := os.ReadFile(file)
		if err != nil {
			content = []byte(err.Error()) // the reader wants the other logs too
		}
		fmt.Fprintf(&all, "--- end of %s\n%s\n", file, lastLines(content, tailLines))
	}
	return all.String()
}

func lastLines(content []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimRight(content, "\n"), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}
