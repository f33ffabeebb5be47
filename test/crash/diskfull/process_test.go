package diskfull

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"github.com/remora-mq/remora/test/ports"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits for what must happen.
const patience = 120 * time.Second

// site is where a sidecar runs, life after life: its disk, its ports, what it
// was sent and what its handler has got.
type site struct {
	t     *testing.T
	disk  *disk
	dir   string // spool.dir, on the disk
	ports [3]string
	app   *application
	sent  journal
	http  *http.Client
}

func newSite(t *testing.T, d *disk) *site {
	s := &site{t: t, disk: d, dir: filepath.Join(d.dir, "data"), app: newApplication(t), http: &http.Client{Timeout: patience}}
	for i := range s.ports {
		s.ports[i] = ports.Free(t)
	}
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}

// life is one run of the program.
type life struct {
	*site
	cmd   *exec.Cmd
	log   *logbook
	ended chan struct{}
}

// start runs the program. With a broker it forwards to one on another disk, and
// on to the handler; without, it holds what it takes.
func (s *site) start(broker bool, set ...string) *life {
	s.t.Helper()
	path, err := program()
	must(s.t, err)
	all := []string{
		"spool.dir=" + s.dir, "spool.lock_wait=20s", "log.level=info",
		"listen.data=" + s.ports[0], "listen.admin=" + s.ports[1], "listen.health=" + s.ports[2],
	}
	if broker {
		s.brokerElsewhere()
		all = append(all, "broker.type=embedded", fmt.Sprintf("subscriptions=[{name: all, topic: orders, handler: %q, timeout: 20s, concurrency: 16, dedupe: {store: off}}]", s.app.server.URL+"/handle"))
	} else {
		all = append(all, "broker.type=rocketmq", `broker.rocketmq.name_servers=["127.0.0.1:1"]`, "forwarder.retry.initial=20s")
	}
	args := []string{"run"}
	for _, one := range append(all, set...) {
		args = append(args, "--set", one)
	}
	l := &life{site: s, cmd: exec.Command(path, args...), log: &logbook{}, ended: make(chan struct{})}
	l.cmd.Stdout, l.cmd.Stderr = l.log, l.log
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that panics leaves nothing behind
	must(s.t, l.cmd.Start())
	go func() {
		defer close(l.ended)
		_ = l.cmd.Wait() // its exit code stands in cmd.ProcessState
	}()
	s.t.Cleanup(l.kill)
	return l
}

// brokerElsewhere lets the embedded broker keep its messages on another disk.
func (s *site) brokerElsewhere() {
	s.t.Helper()
	link := filepath.Join(s.dir, "embedded")
	if _, err := os.Lstat(link); err == nil {
		return
	}
	must(s.t, os.MkdirAll(s.dir, 0o700))
	must(s.t, os.Symlink(s.t.TempDir(), link))
}

// kill is kill -9.
func (l *life) kill() {
	_ = l.cmd.Process.Kill() // it may have ended
	<-l.ended
}

// end is SIGTERM, and has to be obeyed.
func (l *life) end() {
	l.t.Helper()
	must(l.t, l.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-l.ended:
	case <-time.After(patience):
		l.t.Fatalf("does not end at SIGTERM\n%s", l.log.tail())
	}
	if code := l.cmd.ProcessState.ExitCode(); code != 0 {
		l.t.Errorf("ended with %s at SIGTERM\n%s", l.cmd.ProcessState, l.log.tail())
	}
}

func (l *life) dead() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// eventually waits until something is the case. A process that ends meanwhile
// fails the test.
func (l *life) eventually(what string, is func() bool) {
	l.t.Helper()
	l.eventuallyOrDead(what, func() bool { return l.dead() || is() })
	if l.dead() {
		l.t.Fatalf("ended (%s) before %s\n%s", l.cmd.ProcessState, what, l.log.tail())
	}
}

// eventuallyOrDead leaves it to is what the end of the process means.
func (l *life) eventuallyOrDead(what string, is func() bool) {
	l.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-timeout:
			l.t.Fatalf("never %s; %d MiB are free\n%s", what, l.disk.free()>>20, l.log.tail())
		}
	}
}

// live reports whether /livez is 200.
func (l *life) live() bool { return l.status(l.ports[2], "/livez") == http.StatusOK }

func (l *life) ready() bool { return l.status(l.ports[2], "/readyz") == http.StatusOK }

func (s *site) status(addr, path string) int {
	res, err := s.http.Get("http://" + addr + path)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // only its status counts
	return res.StatusCode
}

// gauge reads a metric that has no labels; 0 when it is not there.
func (s *site) gauge(name string) float64 {
	res, err := s.http.Get("http://" + s.ports[2] + "/metrics")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, _ := strconv.ParseFloat(text, 64) // Prometheus writes it
			return v
		}
	}
	return 0
}

// ledger is what GET /v1/ledger says.
type ledger struct {
	Balanced bool
	Total    struct {
		Accepted, Lost uint64
		Held           map[string]uint64 `json:"in_spool"`
	}
}

func (l ledger) held() (n uint64) {
	for _, count := range l.Total.Held {
		n += count
	}
	return n
}

func (s *site) ledger() (l ledger, err error) {
	res, err := s.http.Get("http://" + s.ports[1] + "/v1/ledger")
	if err != nil {
		return l, err
	}
	defer res.Body.Close()
	return l, json.NewDecoder(res.Body).Decode(&l)
}

// answer is a receipt, or a problem.
type answer struct {
	status int
	after  string // Retry-After
	ID     string
	Code   string
	Stored any
	Detail string
}

// post sends a message of number n.
func (s *site) post(n int) (a answer, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+s.ports[0]+"/v1/topics/orders/messages", bytes.NewReader(bodyOf(n)))
	if err != nil {
		return a, err
	}
	req.Header.Set("MQ-Property", "number="+strconv.Itoa(n))
	res, err := s.http.Do(req)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.status, a.after = res.StatusCode, res.Header.Get("Retry-After")
	return a, json.NewDecoder(res.Body).Decode(&a)
}

// logbook takes what a sidecar logs.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) tail() string {
	text := l.String()
	if at := strings.Index(text, "fatal error"); at >= 0 { // goroutines follow
		return text[max(0, at-3000):min(len(text), at+3000)]
	}
	return text[max(0, len(text)-6000):]
}
