package embedded

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// crashDirEnv makes the test binary a broker at work in that directory.
const crashDirEnv = "REMORA_EMBEDDED_CRASH_DIR"

// crashChild sends and consumes until it is killed. Each line on its standard
// output is a fact: "ok ID" after SEND_OK, "done ID" before the ack.
func crashChild(dir string) {
	b, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var out sync.Mutex
	say := func(word string, id message.ID) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(word, id)
	}
	var n atomic.Int64
	n.Store(b.Stats().Topics["orders"].Stored + 1_000_000*int64(os.Getpid()))
	for range 4 {
		go crashSend(b, &n, say)
	}
	crashConsume(b, say)
}

func crashSend(b *Broker, n *atomic.Int64, say func(string, message.ID)) {
	p := b.Producer()
	for {
		i := int(n.Add(1))
		m := msg(i)
		if i%40 == 0 {
			m.Body = make([]byte, 900<<10)
		}
		if _, err := p.Send(context.Background(), []*message.Message{m}); err == nil {
			say("ok", m.ID)
		}
	}
}

// crashConsume gives every fifth message back once, and is slow now and then,
// so that acks come out of order.
func crashConsume(b *Broker, say func(string, message.ID)) {
	s := sub()
	s.Concurrency = 8
	c, err := b.Consumer(s)
	if err != nil {
		panic(err)
	}
	_ = c.Consume(context.Background(), func(ctx context.Context, d *message.Delivery) error {
		n := d.ID.Seq32()
		if n%5 == 0 && d.Attempt == 1 {
			return c.SendBack(ctx, d, broker.SendBack{Delay: time.Duration(n%30) * time.Millisecond})
		}
		if n%7 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		say("done", d.ID)
		return nil
	})
}

// TestKillAtAnyInstant: what was confirmed is there after each kill -9, and is
// handled before the kill or delivered after it.
func TestKillAtAnyInstant(t *testing.T) {
	dir := t.TempDir()
	ok, done := map[string]bool{}, map[string]bool{}
	for round := range 4 {
		runAndKill(t, dir, time.Duration(100+130*round)*time.Millisecond, ok, done)
	}
	b := open(t, Options{Dir: dir})
	handled := drain(t, b, sub())
	every := sub()
	every.Group = "auditor"
	stored := drain(t, b, every)
	for id := range ok {
		if stored[id] == 0 {
			t.Errorf("message %s was confirmed and is gone", id)
		}
		if !done[id] && handled[id] == 0 {
			t.Errorf("message %s was confirmed, not handled, and did not come again", id)
		}
	}
	t.Logf("%d confirmed, %d handled before the kills, %d came after", len(ok), len(done), len(handled))
}

// runAndKill collects the child's lines, and kills it so long after enough of them
// that the rounds together prove something, however slow the disk is.
func runAndKill(t *testing.T, dir string, after time.Duration, ok, done map[string]bool) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDirEnv+"="+dir)
	child.Stderr = os.Stderr
	lines, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	var kill *time.Timer
	oks, dones := len(ok)+15, len(done)+5
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		if kill == nil && len(ok) >= oks && len(done) >= dones {
			kill = time.AfterFunc(after, func() { _ = child.Process.Kill() })
		}
		switch word, id, _ := strings.Cut(scan.Text(), " "); word {
		case "ok":
			ok[id] = true
		case "done":
			done[id] = true
		}
	}
	if kill == nil {
		t.Fatalf("the broker ended by itself: %d were confirmed and %d handled", len(ok), len(done))
	}
}

// drain consumes until the group has nothing left, and counts.
func drain(t *testing.T, b *Broker, s broker.Subscription) map[string]int {
	t.Helper()
	r := consume(t, b, s, nil)
	eventually(t, b, "drained", func(st Stats) bool {
		g, joined := st.Groups[s.Group]
		return joined && g.Lag == 0 && st.Delayed == 0
	})
	r.stop()
	seen := map[string]int{}
	for range len(r.got) {
		seen[(<-r.got).ID.String()]++
	}
	return seen
}
