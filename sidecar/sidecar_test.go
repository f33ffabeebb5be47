package sidecar_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/sidecar"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/test/ports"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// What rocketmq-client-go leaves behind: timers that look for their end
		// every 1, 10 or 30 s (internal/client.go:421-505).
		goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run"),
		goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.1"),
		goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.3"),
		goleak.IgnoreAnyFunction("github.com/apache/rocketmq-client-go/v2/internal.(*rmqClient).Start.func1.4"))
}

// embedded is a configuration on free ports in a fresh folder.
func embedded(t *testing.T) config.Config {
	t.Helper()
	c := config.Default()
	c.Broker.Type = config.BrokerEmbedded
	c.Spool.Dir = filepath.Join(t.TempDir(), "data")
	c.Spool.LockWait = 0
	c.Listen = config.Listen{Data: []string{"127.0.0.1:0"}, Admin: "127.0.0.1:0", Health: "127.0.0.1:0"}
	c.Drain.Timeout = 30 * config.Second
	return c
}

// running is a sidecar between start and stop.
type running struct {
	t    *testing.T
	side *sidecar.Sidecar
	log  *diary
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, c config.Config) *running {
	t.Helper()
	r := launch(t, c)
	select {
	case <-r.side.Ready():
	case err := <-r.done:
		t.Fatalf("ended before it was ready: %v", err)
	}
	return r
}

// launch does not wait for readiness.
func launch(t *testing.T, c config.Config) *running {
	t.Helper()
	log := &diary{}
	side, err := sidecar.New(c, "test", slog.New(slog.NewJSONHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &running{t: t, side: side, log: log, stop: stop, done: make(chan error, 1)}
	var wait sync.WaitGroup
	wait.Go(func() { r.done <- side.Run(ctx) })
	t.Cleanup(func() { stop(); wait.Wait() })
	return r
}

// end asks it to stop and returns what Run did.
func (r *running) end() error {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		return err
	case <-time.After(2 * time.Minute):
		r.t.Fatal("it does not end")
		return nil
	}
}

// post publishes and returns the status and the state in the receipt.
func (r *running) post(topic, body, prefer string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost,
		"http://"+r.side.Addresses().Data[0]+"/v1/topics/"+topic+"/messages", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Prefer", prefer)
	res, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	var receipt struct {
		State string `json:"state"`
	}
	if err := json.NewDecoder(res.Body).Decode(&receipt); err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, receipt.State
}

// client keeps no connection, so that none outlives a test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// diary keeps the log.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) says(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Contains(d.text.Bytes(), []byte(text))
}

// steps returns the shutdown steps that ended, in order.
func (d *diary) steps() (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for line := range bytes.Lines(d.text.Bytes()) {
		var l struct {
			Msg  string `json:"msg"`
			Step string `json:"step"`
		}
		if json.Unmarshal(line, &l) == nil && l.Msg == "shutdown step ended" {
			names = append(names, l.Step)
		}
	}
	return names
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// handler answers with what the test decides, and tells what it was asked.
func handler(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL + "/"
}

// blockUntil answers the first call, and only that, when it is released.
func blockUntil(called, release chan struct{}) http.HandlerFunc {
	var once sync.Once
	return func(http.ResponseWriter, *http.Request) {
		once.Do(func() { close(called) })
		<-release
	}
}

func subscription(name, topic, url string) config.Subscription {
	return config.Subscription{Name: name, Topic: topic, Handler: url}
}

func TestAMessageGoesAllTheWay(t *testing.T) {
	got := make(chan string, 1)
	c := embedded(t)
	socket := filepath.Join(t.TempDir(), "r.sock")
	c.Listen.Data = append(c.Listen.Data, "unix://"+socket)
	c.Subscriptions = []config.Subscription{subscription("billing", "orders", handler(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Mq-Topic") + " " + string(b)
	}))}
	r := start(t, c)
	if a := r.side.Addresses(); len(a.Data) != 2 || a.Data[1] != "unix://"+socket {
		t.Errorf("addresses %+v", a)
	}
	if status, state := r.post("orders", "hello", "wait=60"); status != 200 || state != "confirmed" {
		t.Errorf("%d %s", status, state)
	}
	if s := <-got; s != "orders hello" {
		t.Errorf("handler got %q", s)
	}
	if nc, err := net.Dial("unix", socket); err != nil {
		t.Error(err)
	} else {
		nc.Close()
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func TestShutdownGoesByTheList(t *testing.T) {
	r := start(t, embedded(t))
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"stop fetching", "stop check-backs", "end operations", "stop accepting", "forward what is left", "end requests", "stop forwarding", "stop half messages",
		"close broker", "close spool", "close database", "stop answering",
	}
	if got := r.log.steps(); !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

// At SIGTERM: a delivery that runs is awaited while accepts go on, because
// fetching is stopped first; then accepting ends, and what was accepted last is
// forwarded before the end.
func TestDrainByBehaviour(t *testing.T) {
	called, release := make(chan struct{}), make(chan struct{})
	c := embedded(t)
	c.Subscriptions = []config.Subscription{subscription("slow", "slow", handler(t, blockUntil(called, release)))}
	r := start(t, c)
	r.post("slow", "held by its handler", "")
	<-called
	r.stop()
	awaitState(t, r, 503, "stopping")
	if status, _ := r.post("late", "accepted while the handler works", ""); status != 202 {
		t.Errorf("accepting ended before fetching had: %d", status)
	}
	if got := r.log.steps(); len(got) != 0 {
		t.Errorf("%q ended although the handler has not answered", got)
	}
	close(release)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	c.Subscriptions = nil
	again := start(t, c)
	if status, body := get(t, "http://"+again.side.Addresses().Admin+"/v1/ledger"); status != 200 || !strings.Contains(body, `"confirmed":2`) {
		t.Errorf("%d %s", status, body)
	}
}

// awaitState asks the health listener until it is not ready any more.
func awaitState(t *testing.T, r *running, status int, word string) {
	t.Helper()
	url := "http://" + r.side.Addresses().Health + "/readyz?verbose"
	for deadline := time.Now().Add(time.Minute); ; {
		got, body := get(t, url)
		if got == status {
			if !strings.Contains(body, word) {
				t.Errorf("not ready for another reason: %s", body)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %d", got)
		}
	}
}

func TestWhatIsNotForwardedWaits(t *testing.T) {
	c := embedded(t)
	c.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{ports.Free(t)}}}
	c.Drain.Timeout = 300 * config.Millisecond
	r := start(t, c)
	if status, state := r.post("orders", "waits for a broker", ""); status != 202 || state != "pending" {
		t.Errorf("%d %s", status, state)
	}
	began := time.Now()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("ending took %v with a drain of 300ms", took)
	}
	if !strings.Contains(r.log.String(), "drain deadline reached") {
		t.Error("nothing says that messages are left")
	}
	c.Broker = config.Broker{Type: config.BrokerEmbedded}
	c.Drain.Timeout = config.Minute
	again := start(t, c)
	if err := again.end(); err != nil { // drains
		t.Error(err)
	}
	if strings.Contains(again.log.String(), "drain deadline reached") {
		t.Error("the message was not forwarded by the next start")
	}
}

func TestASpoolHasOneOwner(t *testing.T) {
	c := embedded(t)
	first := start(t, c)
	c.Spool.LockWait = 200 * config.Millisecond
	began := time.Now()
	second := launch(t, c)
	err := <-second.done
	second.done <- err
	if !errors.Is(err, kv.ErrLocked) || sidecar.ExitCode(err) != sidecar.ExitLocked || !strings.Contains(err.Error(), "held by process") {
		t.Errorf("error %v", err)
	}
	if time.Since(began) < 200*time.Millisecond {
		t.Error("it did not wait for the first one")
	}
	if status, _ := first.post("orders", "the first is unharmed", "wait=60"); status != 200 {
		t.Errorf("first one answers %d", status)
	}
}

func TestTheSuccessorTakesOver(t *testing.T) {
	c := embedded(t)
	first := start(t, c)
	c.Spool.LockWait = 5 * config.Minute
	second := launch(t, c)
	if status, body := get(t, "http://"+healthOf(second)+"/startupz"); status != 503 {
		t.Errorf("startup is told complete while waiting: %d %s", status, body)
	}
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	<-second.side.Ready()
	if status, _ := second.post("orders", "hello", ""); status != 202 {
		t.Errorf("%d", status)
	}
}

// healthOf waits for the address: the listener opens first.
func healthOf(r *running) string {
	for {
		if a := r.side.Addresses().Health; a != "" {
			return a
		}
	}
}

func TestEndedWhileItWaitsForTheLock(t *testing.T) {
	c := embedded(t)
	start(t, c)
	c.Spool.LockWait = config.Hour
	second := launch(t, c)
	healthOf(second)
	if err := second.end(); err != nil {
		t.Error(err)
	}
}

func TestATakenPortIsAFailure(t *testing.T) {
	c := embedded(t)
	first := start(t, c)
	c.Spool.Dir = filepath.Join(t.TempDir(), "other")
	c.Listen.Data = first.side.Addresses().Data
	second := launch(t, c)
	err := <-second.done
	if sidecar.ExitCode(err) != sidecar.ExitFailed || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(err.Error(), "\n") || len(second.log.steps()) > 0 {
		t.Errorf("the reason is buried: %v\n%s", err, second.log)
	}
}

func TestAnUnusableDirectoryIsNamedWithWhatToDo(t *testing.T) {
	c := embedded(t)
	inTheWay := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(inTheWay, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{inTheWay, filepath.Join(inTheWay, "sub"), "/proc/x"} {
		c.Spool.Dir = dir
		err := <-launch(t, c).done
		if err == nil || !strings.Contains(err.Error(), "spool.dir "+dir+" cannot be written by uid") || !strings.Contains(err.Error(), "choose another") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestExitCodes(t *testing.T) {
	_, invalid := sidecar.New(config.Config{}, "test", slog.New(slog.DiscardHandler))
	for _, tt := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("any"), 1},
		{invalid, 2},
		{fmt.Errorf("run: %w", sidecar.ErrStorage), 74},
		{fmt.Errorf("open: %w", kv.ErrLocked), 75},
		{fmt.Errorf("open: %w", &keyring.MissingError{}), 78},
		{fmt.Errorf("open: %w", kv.ErrFormat), 78},
		{fmt.Errorf("open: %w", spool.ErrFormat), 78},
		{fmt.Errorf("open: %w", kv.StorageError(syscall.EIO)), 74},
		{fmt.Errorf("open: %w", kv.StorageError(os.ErrPermission)), 1},
	} {
		if got := sidecar.ExitCode(tt.err); got != tt.code {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.code)
		}
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	c := embedded(t)
	c.Listen.TokenFile = filepath.Join(t.TempDir(), "token")
	if _, err := sidecar.New(c, "test", slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "listen.token_file") {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(c.Listen.TokenFile, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sidecar.New(c, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("empty file: %v", err)
	}
	if err := os.WriteFile(c.Listen.TokenFile, []byte("old\nnew\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, c)
	if status, _ := r.post("orders", "no token", ""); status != 401 {
		t.Errorf("without a token: %d", status)
	}
}

func TestAdminTellsTheStatus(t *testing.T) {
	c := embedded(t)
	r := start(t, c)
	r.post("t", "x", "wait=60")
	res, err := client.Get("http://" + r.side.Addresses().Admin + "/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var got sidecar.Status
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if !got.Ready || got.Version != "test" || got.Broker != "embedded" || got.Spool == nil || got.Spool.Dir != c.Spool.Dir || len(got.Spool.ID) != 10 || got.Spool.LimitBytes == 0 {
		t.Errorf("%+v %+v", got, got.Spool)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
