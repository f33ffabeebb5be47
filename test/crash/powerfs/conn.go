package powerfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/test/crash/crashfs/control"
	"github.com/remora-mq/remora/test/crash/crashfs/disk"
)

// exitTimeout bounds the wait for crashfs to unmount and exit.
const exitTimeout = time.Minute

// conn is a running crashfs. One goroutine, listen, reads what it says and
// ends with the process.
type conn struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu       sync.Mutex // one request at a time
	requests *json.Encoder
	in       io.Closer

	replies chan control.Reply // closed when the process has ended
	mounted chan struct{}      // closed at the event
	held    chan disk.Event    // one value an event
	cut     chan struct{}      // closed at the event
	ended   chan struct{}      // closed when the process has ended
}

func dial(cmd *exec.Cmd) (*conn, error) {
	c := &conn{
		cmd:     cmd,
		replies: make(chan control.Reply, 1),
		mounted: make(chan struct{}),
		held:    make(chan disk.Event, 1),
		cut:     make(chan struct{}),
		ended:   make(chan struct{}),
	}
	cmd.Stderr = &c.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start crashfs: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start crashfs: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start crashfs: %w", err)
	}
	c.in, c.requests = in, json.NewEncoder(in)
	go c.listen(json.NewDecoder(out))
	return c, nil
}

func (c *conn) listen(out *json.Decoder) {
	defer close(c.ended)
	defer close(c.replies)
	for {
		var r control.Reply
		if err := out.Decode(&r); err != nil {
			_ = c.cmd.Wait() // a failure shows in stderr
			return
		}
		if r.Event == nil {
			c.replies <- r
			continue
		}
		c.happened(*r.Event)
	}
}

func (c *conn) happened(e disk.Event) {
	switch e.Kind {
	case control.EventMounted:
		close(c.mounted)
	case disk.EventCut:
		close(c.cut)
	case disk.EventHeld:
		select {
		case <-c.held: // nobody took the last one
		default:
		}
		c.held <- e
	}
}

var errEnded = errors.New("crashfs has ended")

// ask sends a request and returns its reply.
func (c *conn) ask(q control.Request) (control.Reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.requests.Encode(q); err != nil {
		return control.Reply{}, fmt.Errorf("%s: %w: %w", q.Do, errEnded, err)
	}
	r, ok := <-c.replies
	switch {
	case !ok:
		return r, fmt.Errorf("%s: %w: %s", q.Do, errEnded, c.stderr.String())
	case r.Error != "":
		return r, fmt.Errorf("%s: %s", q.Do, r.Error)
	}
	return r, nil
}

// lastWords asks for something at the end of a test, when crashfs may be gone.
func (c *conn) lastWords(q control.Request) {
	_, _ = c.ask(q)
}

// close ends crashfs, by force if need be, and leaves nothing mounted.
func (c *conn) close(dir string) {
	_ = c.in.Close() // the end of its input makes it unmount and exit
	select {
	case <-c.ended:
	case <-time.After(exitTimeout):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	_ = unix.Unmount(dir, unix.MNT_DETACH) // EINVAL if it did it itself
}
