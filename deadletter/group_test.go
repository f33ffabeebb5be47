package deadletter_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/broker/embedded"
	"github.com/remora-mq/remora/deadletter"
	"github.com/remora-mq/remora/deadletter/notes"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// graves is a group at an embedded broker, whose members give up what they are told.
type graves struct {
	*deadletter.Group

	t     *testing.T
	b     *embedded.Broker
	dir   string
	db    *kv.DB
	notes *notes.Store
	ids   []string

	mu   sync.Mutex
	dies func(d *message.Delivery) string // cause, "": it is handled
	seen []string                         // of each delivery, identity and attempt
}

func newGraves(t *testing.T) *graves {
	t.Helper()
	b, err := embedded.Open(t.Context(), embedded.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	g := &graves{t: t, b: b, dir: t.TempDir()}
	g.reopen()
	t.Cleanup(func() { g.must(errors.Join(b.Close(), g.db.Close())) })
	c, err := b.Consumer(broker.Subscription{Name: "s", Topic: "orders", Group: "g", Concurrency: 4})
	g.must(err)
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	ended.Go(func() {
		g.must(c.Consume(ctx, func(ctx context.Context, d *message.Delivery) error { return g.receive(ctx, c, d) }))
	})
	t.Cleanup(func() { stop(); ended.Wait() })
	return g
}

// reopen is what a restart is to the notes.
func (g *graves) reopen() {
	g.t.Helper()
	if g.db != nil {
		g.must(g.db.Close())
	}
	var err error
	g.db, err = kv.Open(g.t.Context(), kv.Options{Dir: g.dir, CloseWait: 2 * time.Minute})
	g.must(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.notes, err = notes.Open(g.db, nil, nil)
	g.must(err)
	dead, err := g.b.DeadLetters("g")
	g.must(err)
	g.Group = deadletter.NewGroup("g", dead, g.notes, nil)
}

func (g *graves) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *graves) receive(ctx context.Context, c broker.Consumer, d *message.Delivery) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen = append(g.seen, fmt.Sprint(d.Identity, " ", d.Attempt))
	cause := g.dies(d)
	if cause == "" {
		return nil
	}
	if cause != deadletter.UnknownCause {
		g.notes.Note("g", d.Identity, notes.Reason{Cause: cause, Attempts: 3, At: time.Now()})
	}
	return c.SendBack(ctx, d, broker.SendBack{DeadLetter: true})
}

func (g *graves) dying(dies func(d *message.Delivery) string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dies, g.seen = dies, nil
}

// bury sends n messages, numbered in their bodies, and waits for their deaths.
func (g *graves) bury(n int, dies func(i int) string) {
	g.t.Helper()
	g.dying(func(d *message.Delivery) string {
		i, _ := strconv.Atoi(string(d.Body))
		return dies(i)
	})
	p := g.b.Producer()
	for i := range n {
		m := &message.Message{
			ID: message.NewID(message.SpoolID{1}, 1, uint64(len(g.ids)+1), time.Now()), Topic: "orders", Body: []byte(strconv.Itoa(i)),
			Tag: []string{"odd", "even"}[(i+1)%2], Keys: []string{"k" + strconv.Itoa(i)},
		}
		if i == 0 {
			m.OrderingKey = "o"
		}
		_, err := p.Send(g.t.Context(), []*message.Message{m})
		g.must(err)
		g.ids = append(g.ids, m.ID.String())
	}
	g.must(p.Close())
	g.await(len(g.ids))
}

// await waits until n wait.
func (g *graves) await(n int) {
	g.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		count, _, err := g.Waiting(g.t.Context())
		g.must(err)
		if count == int64(n) {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("%d wait, want %d", count, n)
		}
	}
}

// run runs one to its end.
func (g *graves) run(o deadletter.GroupOptions) (deadletter.Progress, error) {
	g.t.Helper()
	o.Watch = 500 * time.Millisecond
	r := g.NewRun(o)
	err := r.Do(g.t.Context())
	p := r.Progress()
	if p.Phase != deadletter.Ended {
		g.t.Errorf("phase %s at the end", p.Phase)
	}
	return p, err
}

func (g *graves) list(f deadletter.GroupFilter) (bodies []string) {
	g.t.Helper()
	for cursor := ""; ; {
		page, err := g.List(g.t.Context(), f, cursor, 3)
		g.must(err)
		if len(page.Items) > 3 {
			g.t.Errorf("%d on a page", len(page.Items))
		}
		for _, l := range page.Items {
			bodies = append(bodies, string(l.Body))
		}
		if cursor = page.Next; cursor == "" {
			slices.Sort(bodies)
			return bodies
		}
	}
}

// delivered waits until as many were, and returns them.
func (g *graves) delivered(n int) []string {
	g.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		g.mu.Lock()
		seen := slices.Clone(g.seen)
		g.mu.Unlock()
		if len(seen) >= n {
			slices.Sort(seen)
			return seen
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("%d deliveries, want %d", len(seen), n)
		}
	}
}

func byParity(i int) string {
	return []string{"rejected: 422", "out of attempts: 500", deadletter.UnknownCause}[i%3]
}

// What waits is listed by pages, chosen by filters, and counted by cause.
func TestGroupsDeadLettersAreListedAndGrouped(t *testing.T) {
	g := newGraves(t)
	if n, oldest, err := g.Waiting(t.Context()); n != 0 || !oldest.IsZero() || err != nil {
		t.Errorf("%d wait since %v (%v)", n, oldest, err)
	}
	began := time.Now().Add(-time.Second)
	g.bury(10, byParity)
	for name, tc := range map[string]struct {
		filter deadletter.GroupFilter
		want   []string
	}{
		"all":           {deadletter.GroupFilter{}, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}},
		"cause":         {deadletter.GroupFilter{Cause: "rejected: 422"}, []string{"0", "3", "6", "9"}},
		"unknown cause": {deadletter.GroupFilter{Cause: "unknown"}, []string{"2", "5", "8"}},
		"cause and tag": {deadletter.GroupFilter{Cause: "unknown", Tag: "odd"}, []string{"5"}},
		"key":           {deadletter.GroupFilter{Key: "k7"}, []string{"7"}},
		"IDs":           {deadletter.GroupFilter{IDs: []string{g.ids[1], g.ids[4], "none"}}, []string{"1", "4"}},
		"other topic":   {deadletter.GroupFilter{Topic: "other"}, nil},
		"long dead":     {deadletter.GroupFilter{Before: began}, nil},
	} {
		if got := g.list(tc.filter); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
		if c, err := g.Count(t.Context(), tc.filter); err != nil || c.Messages != len(tc.want) {
			t.Errorf("%s: counted %+v (%v)", name, c, err)
		}
	}
	causes, err := g.Causes(t.Context(), deadletter.GroupFilter{})
	g.must(err)
	if len(causes) != 3 || causes[0].Cause != "rejected: 422" || causes[0].Messages != 4 || causes[0].Ordered != 1 || causes[1].Messages != 3 ||
		causes[1].Cause != "out of attempts: 500" || causes[2].Cause != "unknown" || causes[0].Example == "" || !slices.Equal(causes[0].Topics, []string{"orders"}) {
		t.Errorf("%+v", causes)
	}
	one, err := g.Find(t.Context(), g.ids[3])
	if err != nil || one.Cause != "rejected: 422" || one.Attempt != 3 || one.DiedAt.Before(began) {
		t.Errorf("%+v (%v)", one, err)
	}
	if _, err := g.Find(t.Context(), "none"); !errors.Is(err, deadletter.ErrNoLetter) {
		t.Errorf("error %v", err)
	}
	for _, bad := range []string{"x", "@1", "q@-1", "q@x"} {
		if _, err := g.List(t.Context(), deadletter.GroupFilter{}, bad, 1); !errors.Is(err, deadletter.ErrCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	if n, oldest, err := g.Waiting(t.Context()); n != 10 || oldest.Before(began) || oldest.After(time.Now()) || err != nil {
		t.Errorf("%d wait since %v (%v)", n, oldest, err)
	}
}

// A redrive brings each that was chosen to the group once, as a first attempt; what
// was redriven or discarded waits no more, through a restart too.
func TestRedriveOfAGroup(t *testing.T) {
	g := newGraves(t)
	g.bury(30, byParity)
	g.dying(func(*message.Delivery) string { return "" })
	began := time.Now()
	p, err := g.run(deadletter.GroupOptions{Filter: deadletter.GroupFilter{Cause: "rejected: 422"}, Rate: 100})
	if err != nil || p.Changed != 10 || p.Chosen.Messages != 10 || p.Refused != 0 || len(p.Dead) != 0 {
		t.Errorf("%+v (%v)", p, err)
	}
	if took := time.Since(began); took < time.Second { // twice the watch
		t.Errorf("it took %v and waited for nothing", took)
	}
	var want []string
	for i := 0; i < 30; i += 3 {
		want = append(want, g.ids[i]+" 1")
	}
	slices.Sort(want)
	if got := g.delivered(10); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	for range 2 {
		g.await(20)
		if got := g.list(deadletter.GroupFilter{Cause: "rejected: 422"}); len(got) != 0 {
			t.Errorf("%v wait", got)
		}
		g.reopen()
	}
	p, err = g.run(deadletter.GroupOptions{Filter: deadletter.GroupFilter{Tag: "odd"}, Discard: true})
	if err != nil || p.Changed != 10 {
		t.Errorf("%+v (%v)", p, err)
	}
	p, err = g.run(deadletter.GroupOptions{Discard: true})
	if err != nil || p.Changed != 10 {
		t.Errorf("%+v (%v)", p, err)
	}
	g.await(0)
	g.reopen()
	g.await(0)
	if g.delivered(0); len(g.seen) != 10 || g.b.Stats().Topics[embedded.DeadLetterTopic("g")].Stored != 30 {
		t.Errorf("deliveries %v, stats %+v", g.seen, g.b.Stats())
	}
	if low := g.notes.Low("g", "embedded/0"); low != 30 {
		t.Errorf("settled up to %d", low)
	}
}

// A redrive whose first messages die again stops there.
func TestRedriveOfAGroupStopsWhenTheyDieAgain(t *testing.T) {
	g := newGraves(t)
	g.bury(50, func(int) string { return "rejected: 422" })
	g.dying(func(*message.Delivery) string { return "rejected: 400" })
	p, err := g.run(deadletter.GroupOptions{Rate: 1000})
	if !errors.Is(err, deadletter.ErrReturned) || p.Changed != 5 || p.Dead["rejected: 400"] == 0 {
		t.Errorf("%+v (%v)", p, err)
	}
	g.delivered(5)
	g.await(50)
	causes, err := g.Causes(t.Context(), deadletter.GroupFilter{})
	g.must(err)
	if len(causes) != 2 || causes[1].Messages != 5 || causes[1].Cause != "rejected: 400" {
		t.Errorf("%+v", causes)
	}
}

// What the broker does not confirm goes on waiting, and ends the run.
func TestUnconfirmedRedriveWaits(t *testing.T) {
	g := newGraves(t)
	g.bury(6, func(int) string { return "rejected: 422" })
	g.dying(func(*message.Delivery) string { return "" })
	for _, status := range []string{"FLUSH_DISK_TIMEOUT", "SYSTEM_BUSY"} {
		g.b.Inject(embedded.Fault{At: embedded.AtSend, Times: math.MaxInt, Status: status})
		if p, err := g.run(deadletter.GroupOptions{}); err == nil || p.Changed != 0 {
			t.Errorf("%s: %+v (%v)", status, p, err)
		}
		g.b.Heal()
		g.await(6)
	}
	if p, err := g.run(deadletter.GroupOptions{}); err != nil || p.Changed != 6 {
		t.Errorf("%+v (%v)", p, err)
	}
	g.await(0)
	if seen := g.delivered(7); len(seen) != 7 || len(slices.Compact(seen)) != 6 {
		t.Errorf("delivered %v: want each, and one that was not confirmed twice", seen)
	}
}

// When what was redriven cannot be noted, it goes on waiting: at worst it comes
// twice.
func TestRedriveThatIsNotNotedComesAgain(t *testing.T) {
	g := newGraves(t)
	g.bury(1, func(int) string { return deadletter.UnknownCause })
	g.dying(func(*message.Delivery) string { return "" })
	one, err := g.Find(t.Context(), g.ids[0])
	g.must(err)
	dead, err := g.b.DeadLetters("g")
	g.must(err)
	letters, _, err := dead.Read(t.Context(), one.Queue, one.Offset, 1)
	g.must(err)
	g.must(dead.Redrive(t.Context(), &letters[0])) // and then the process dies
	g.reopen()
	g.await(1)
	if p, err := g.run(deadletter.GroupOptions{Filter: deadletter.GroupFilter{IDs: g.ids}}); err != nil || p.Changed != 1 {
		t.Errorf("%+v (%v)", p, err)
	}
	if seen := g.delivered(2); !slices.Equal(seen, []string{g.ids[0] + " 1", g.ids[0] + " 1"}) {
		t.Errorf("delivered %v", seen)
	}
	g.await(0)
}
