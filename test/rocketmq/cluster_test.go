package rocketmq

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func admin(t *testing.T, args ...string) string {
	t.Helper()
	out, err := shared.MQAdmin(args...)
	must(t, err)
	return out
}

func TestMQAdminListsTheCluster(t *testing.T) {
	b := shared.Brokers[0]
	if out := admin(t, "clusterList"); !strings.Contains(out, b.Name()) || !strings.Contains(out, b.Addr()) {
		t.Errorf("clusterList does not show %s at %s:\n%s", b.Name(), b.Addr(), out)
	}
}

func TestNodesWriteOnlyInTheirFolders(t *testing.T) {
	for _, n := range shared.nodes() {
		files := writableFiles(t, n.process.PID())
		if log := filepath.Join(n.program.home, "rocketmq.log"); !slices.Contains(files, log) {
			t.Errorf("%s does not log to %s", n.Name(), log)
		}
		for _, file := range files {
			if !strings.HasPrefix(file, n.program.home+"/") {
				t.Errorf("%s writes %s", n.Name(), file)
			}
		}
	}
}

// writableFiles are the files that a process has open for writing.
func writableFiles(t *testing.T, pid int) []string {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	fds, err := os.ReadDir(proc + "fd")
	must(t, err)
	var files []string
	for _, fd := range fds {
		info, _ := os.ReadFile(proc + "fdinfo/" + fd.Name()) // may be closed by now
		file, _ := os.Readlink(proc + "fd/" + fd.Name())
		var pos, flags int
		fmt.Sscanf(string(info), "pos:\t%d\nflags:\t%o", &pos, &flags)
		isFile := filepath.IsAbs(file) && !strings.HasPrefix(file, "/dev/")
		if isFile && flags&syscall.O_ACCMODE != syscall.O_RDONLY {
			files = append(files, file)
		}
	}
	return files
}

func TestTopicAndOffsets(t *testing.T) {
	shared.CreateTopic(t, "orders", 3)
	b := shared.Brokers[0]
	must(t, shared.NameServers[0].leadsTo(b, "orders", 3))
	if err := shared.NameServers[0].leadsTo(b, "orders", 2); err == nil {
		t.Error("a route with 3 queues is taken for one with 2")
	}
	if err := shared.NameServers[0].leadsTo(b, "unheard-of", 0); err == nil {
		t.Error("an unknown topic has a route")
	}
	if _, err := b.ConsumerOffset("nobody", "orders", 0); !errors.Is(err, ErrNoOffset) {
		t.Errorf("offset of an unknown group: got %v, want ErrNoOffset", err)
	}
	send(t, "orders")
	wantMaxOffset(t, "orders", 0, 1)
	wantMaxOffset(t, "orders", 1, 0)
	commit(t, "app", "orders", 1)
	if offset, err := b.ConsumerOffset("app", "orders", 0); err != nil || offset != 1 {
		t.Errorf("committed 1: offset %d (%v)", offset, err)
	}
}

// send puts one message into queue 0. A broker on a busy machine refuses for a
// moment what has waited 200 ms for one of its threads, and has not stored it.
func send(t *testing.T, topic string) {
	t.Helper()
	const reqSend, codeSystemBusy, codeFlushDiskTimeout = 10, 2, 10
	must(t, await(visibleTimeout, nil, func() error {
		_, err := call(shared.Brokers[0].Addr(), reqSend, map[string]string{
			"producerGroup": "test", "topic": topic, "queueId": "0", "sysFlag": "0", "flag": "0", "properties": "",
			"bornTimestamp": strconv.FormatInt(time.Now().UnixMilli(), 10), "defaultTopic": "TBW102", "defaultTopicQueueNums": "4",
		}, []byte("body"))
		switch r, _ := errors.AsType[*responseError](err); {
		case r != nil && r.Code == codeSystemBusy:
			return err
		case r == nil || r.Code != codeFlushDiskTimeout: // that one has stored it
			must(t, err)
		}
		return nil
	}))
}

// wantMaxOffset gives the broker time: it builds queues from its log.
func wantMaxOffset(t *testing.T, topic string, queue int, want int64) {
	t.Helper()
	err := await(visibleTimeout, nil, func() error {
		got, err := shared.Brokers[0].MaxOffset(topic, queue)
		if err == nil && got != want {
			err = fmt.Errorf("max offset of %s/%d: %d, want %d", topic, queue, got, want)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// commit does what a consumer does: the broker refuses offsets of groups that it
// has not heard of.
func commit(t *testing.T, group, topic string, offset int) {
	t.Helper()
	const updateOffset, updateGroup = 15, 200
	addr := shared.Brokers[0].Addr()
	_, err := call(addr, updateGroup, nil, fmt.Appendf(nil, `{"groupName":%q}`, group))
	must(t, err)
	_, err = call(addr, updateOffset, map[string]string{
		"consumerGroup": group, "topic": topic, "queueId": "0", "commitOffset": strconv.Itoa(offset),
	}, nil)
	must(t, err)
}

func TestRefusalOfTheBrokerIsAnError(t *testing.T) {
	err := shared.Brokers[0].CreateTopic("not a topic!", 1)
	if r, ok := errors.AsType[*responseError](err); !ok || r.Code == codeSuccess {
		t.Errorf("create an illegal topic: got %v, want a responseError", err)
	}
}

func TestBrokerComesBackAfterKill(t *testing.T) {
	b := shared.Brokers[0]
	shared.CreateTopic(t, "survivor", 2)
	send(t, "survivor")
	addr := b.Addr()
	t.Cleanup(func() { must(t, b.Start()) })
	must(t, b.Kill())
	if b.Alive() {
		t.Error("alive after Kill")
	}
	if _, err := b.MaxOffset("survivor", 0); err == nil {
		t.Error("a killed broker answers")
	}
	must(t, errors.Join(b.Kill(), b.Stop())) // of a dead one: nothing
	must(t, b.Start())
	if !b.Alive() || b.Addr() != addr {
		t.Errorf("alive %v at %s, want true at %s", b.Alive(), b.Addr(), addr)
	}
	must(t, await(visibleTimeout, nil, func() error { return shared.NameServers[0].leadsTo(b, "survivor", 2) }))
	wantMaxOffset(t, "survivor", 0, 1)
}

func TestConfigChangeSurvivesRestart(t *testing.T) {
	b := shared.Brokers[0]
	t.Cleanup(func() { must(t, errors.Join(b.Start(), b.UpdateConfig("brokerPermission", "6"))) })
	must(t, b.UpdateConfig("brokerPermission", "4"))
	wantPermission(t, "4")
	must(t, b.Kill())
	must(t, b.Start())
	wantPermission(t, "4")
}

func wantPermission(t *testing.T, permission string) {
	t.Helper()
	const getBrokerConfig = 26
	answer, err := call(shared.Brokers[0].Addr(), getBrokerConfig, nil, nil)
	must(t, err)
	lines := strings.Split(string(answer.body), "\n")
	if !slices.Contains(lines, "brokerPermission="+permission) {
		t.Errorf("brokerPermission is not %s", permission)
	}
}

func TestPausedBrokerIsSilent(t *testing.T) {
	b := shared.Brokers[0]
	must(t, b.Pause())
	t.Cleanup(func() { must(t, b.Resume()) })
	asked := make(chan error, 1)
	go func() {
		_, err := b.MaxOffset(b.Name(), 0)
		asked <- err
	}()
	select {
	case err := <-asked:
		t.Fatalf("a paused broker answered (%v)", err)
	case <-time.After(300 * time.Millisecond):
	}
	if !b.Alive() || b.serves() {
		t.Errorf("paused: alive %v, serves %v; want true, false", b.Alive(), b.serves())
	}
	must(t, b.Resume())
	must(t, <-asked)
}

func TestBrokerRegistersAtReturnedNameServer(t *testing.T) {
	ns := shared.NameServers[0]
	t.Cleanup(func() { must(t, errors.Join(ns.Start(), shared.AwaitRegistered())) })
	must(t, ns.Stop())
	if err := ns.Pause(); err == nil {
		t.Error("a dead node was paused")
	}
	must(t, ns.Start())
	must(t, shared.AwaitRegistered())
	must(t, ns.leadsTo(shared.Brokers[0], shared.Brokers[0].Name(), 0))
}

func TestSeveralOfEach(t *testing.T) {
	c := Start(t, Options{NameServers: 2, Brokers: []BrokerOptions{
		{FlushDisk: AsyncFlush},
		{Name: "other", Role: SyncMaster, Extra: map[string]string{"syncFlushTimeout": "1"}},
	}})
	if got := c.NameServerAddrs(); len(got) != 2 || got[0] == got[1] {
		t.Fatalf("name servers %v, want two", got)
	}
	must(t, c.NameServers[0].Kill())
	c.CreateTopic(t, "everywhere", 1)
	for _, b := range c.Brokers {
		must(t, c.NameServers[1].leadsTo(b, "everywhere", 1))
	}
	if names := []string{c.Brokers[0].Name(), c.Brokers[1].Name()}; !slices.Equal(names, []string{"broker-a", "other"}) {
		t.Errorf("broker names %v", names)
	}
}

func TestStartExplainsAFailure(t *testing.T) {
	_, err := New(Options{Dir: t.TempDir(), Brokers: []BrokerOptions{
		{Extra: map[string]string{"brokerRole": "SLAVE"}}, // with brokerId 0
	}})
	if !errors.Is(err, errExited) || !strings.Contains(err.Error(), "brokerId must be > 0") {
		t.Errorf("got %v, want the broker's own words", err)
	}
}
