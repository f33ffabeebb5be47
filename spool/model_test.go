package spool_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// TestModel does random things to a spool and, beside it, to a map; what the
// spool says has to follow from the map, through kills and reopens.
func TestModel(t *testing.T) {
	for name, options := range models {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newModel(t, options.spool, options.kv)
				defer m.end()
				t.Repeat(map[string]func(*rapid.T){
					"":       m.check,
					"accept": m.accept, "accept again": m.acceptAgain, "accept and die": m.acceptAndDie, "accept a batch": m.acceptBatch,
					"lease": m.lease, "lease nothing": m.leaseNothing,
					"confirm": m.confirm, "confirm late": m.confirmLate, "retry": m.retry, "postpone": m.postpone, "release": m.release, "bury": m.bury,
					"put on hold": m.putOnHold, "release from hold": m.releaseFromHold, "retry now": m.retryNow, "list": m.list,
					"redrive": m.redrive, "discard": m.discard,
					"pause": m.pauseSome, "resume": m.resume,
					"cancel": m.cancel, "wait": m.wait, "advance": m.advance, "set the broker's timer": m.setTimer,
					"set the clock": m.setClock, "confirm the clock": m.confirmClock,
					"resend": m.resendSome, "send again": m.sendAgain, "give up what is kept": m.giveUp, "import": m.imports, "export": m.exports,
					"prepare": m.prepareSome, "prepare again": m.prepareAgain, "prepare and die": m.prepareAndDie, "decide": m.decideSome, "decide and die": m.decideAndDie, "adopt": m.adopt,
					"kill": m.kill, "reopen": m.reopen, "compare": m.compareAll, "new identity": m.newIdentity, "new key": m.newKey,
				})
			})
		})
	}
}

// The same has to hold whatever the options are.
var models = map[string]struct {
	spool spool.Options
	kv    kv.Options
}{
	"defaults": {kv: kv.Options{MemTableSize: 2 << 20}},
	"smallest": {spool.Options{Window: 1, MaxTopics: 3, RetainFor: 90 * time.Minute, RetainBytes: 1 << 20}, kv.Options{MemTableSize: 1 << 20}},
	"hasty":    {spool.Options{LeaseFor: 30 * time.Minute}, kv.Options{MemTableSize: 1 << 20, MaxCommit: 24 << 10}},
	"secret":   {spool.Options{Keys: ring(1), Window: 2 << 10, LeaseFor: 70 * time.Minute}, kv.Options{MemTableSize: 1 << 20}},
	"strict":   {spool.Options{BlockOnDead: true, LeaseFor: 70 * time.Minute}, kv.Options{MemTableSize: 1 << 20}},
	"keepers":  {spool.Options{Window: 2 << 10, RetainFor: 1000 * time.Hour, RetainBytes: 1 << 40}, kv.Options{MemTableSize: 1 << 20}},
	"laziest":  {spool.Options{Window: 2 << 10, RetainFor: 1000 * time.Hour, RetainBytes: 4 << 10}, kv.Options{MemTableSize: 1 << 20, LazyDelay: time.Hour}},
}

// held is what the model knows of a message.
type held struct {
	id             message.ID
	topicSeq       uint64 // 0: it was never pending, or under another spool ID than it was accepted
	draft          spool.Draft
	state          message.State
	unsynced       bool // confirmed, and no commit has followed
	maybeSent      bool
	attempts       int
	former         bool // accepted by a former process
	leased         bool // ever, in any process
	onHold         bool
	imported       bool
	redriven       bool // ever
	away           bool // since it was leased it has left its window
	ordered        bool // to be sent again, ever
	owed           bool // ordered, kept, and not sent again since
	due            time.Time
	until          time.Time // delayed, by the wall clock
	falls          time.Time // delayed by a time that passes, whatever the wall clock says; zero: it is not
	waitsElsewhere bool      // where it was imported from
	expires        time.Time // once it is pending; zero: never, or not any more
	timer          modelTimer
}

type model struct {
	*rig
	clock  *clock // as time passes; the wall clock may be ahead of it
	wall   *wall
	all    []*held
	keys   map[string]*held
	paused map[string]time.Time // since when, by topic
	leases map[*held]*spool.Lease
	late   map[*held]*spool.Lease // that have lapsed, and may yet be confirmed
	gaveUp bool                   // what was kept of confirmed messages
	keyed  int                    // the key that encrypts
	bodies int
	ahead  atomic.Int64 // of the broker's timer, a time.Duration

	transactions []*modelTransaction

	other     *rig // where imports come from; nil: there was none
	imported  int
	elsewhere map[string]uint64 // numbers given there, by topic
}

var modelTopics = []string{"a", "b", timerTopic}

func newModel(t *rapid.T, opts spool.Options, db kv.Options) *model {
	dir, err := os.MkdirTemp("", "spool-model")
	if err != nil {
		t.Fatal(err)
	}
	m := &model{clock: newClock(), keys: map[string]*held{}, paused: map[string]time.Time{}, leases: map[*held]*spool.Lease{}, late: map[*held]*spool.Lease{}, keyed: 1, elsewhere: map[string]uint64{}}
	opts.LeaseFor, opts.ReceiptsKeep, opts.DedupeWindow = cmp.Or(opts.LeaseFor, 1000*time.Hour), 1000*time.Hour, 1000*time.Hour
	m.clock.rule(&opts)
	m.wall = &wall{clock: m.clock}
	opts.Now, opts.Timer = m.wall.now, m.timerOf
	m.ahead.Store(int64(time.Hour))
	m.rig = &rig{t: t, dir: dir, opts: opts, kv: db}
	m.rig.open()
	return m
}

func (m *model) end() {
	m.rig.close()
	if m.other != nil {
		m.other.close()
	}
	if err := errors.Join(os.RemoveAll(m.dir), os.RemoveAll(m.dir+"-other")); err != nil {
		m.t.Error(err)
	}
}

// draw makes a draft that no other is like.
func (m *model) draw(t *rapid.T) spool.Draft {
	m.bodies++
	d := draft(rapid.SampledFrom(modelTopics).Draw(t, "topic"), fmt.Sprint("body ", m.bodies))
	d.OrderingKey = rapid.SampledFrom([]string{"", "", "k", "l"}).Draw(t, "ordering key")
	if rapid.IntRange(0, 5).Draw(t, "large") == 0 {
		d.Body = append(d.Body, strings.Repeat(".", 70<<10)...)
	}
	if rapid.Bool().Draw(t, "keyed") {
		d = under(fmt.Sprint("key ", m.bodies), d)
	}
	wait := time.Duration(rapid.IntRange(1, 150).Draw(t, "delay")) * time.Minute
	switch rapid.IntRange(0, 7).Draw(t, "delayed") {
	case 0:
		d.Delay = wait
	case 1:
		d.DeliverAt = m.wall.now().Add(wait)
	}
	if rapid.IntRange(0, 4).Draw(t, "mortal") == 0 {
		d.TTL = time.Duration(rapid.IntRange(1, 200).Draw(t, "TTL")) * time.Minute
	}
	return d
}

func (m *model) add(d spool.Draft, r message.Receipt) *held {
	h := &held{id: r.ID, draft: d, state: message.StatePending, until: m.until(d), falls: m.falls(d)}
	m.forTimer(h)
	if h.state = m.firstState(h); h.state == message.StatePending {
		m.number(h)
		m.beginTTL(h)
	}
	m.all = append(m.all, h)
	if d.DedupeKey != "" {
		m.keys[d.DedupeKey] = h
	}
	return h
}

// synced follows a synced commit: what was posted before rode in it, unless that was
// of an append or a decision, which may overtake confirmations.
func (m *model) synced() {
	for _, h := range m.all {
		h.unsynced = false
	}
}

func (m *model) accept(t *rapid.T) {
	var drafts []spool.Draft
	for range rapid.SampledFrom([]int{1, 1, 1, 3, 20}).Draw(t, "messages") {
		drafts = append(drafts, m.draw(t))
	}
	for i, r := range m.rig.accept(drafts...) {
		if r.Duplicate || r.Topic != drafts[i].Topic {
			t.Fatalf("accepted %+v", r)
		}
		if h := m.add(drafts[i], r); h.state != r.State || !r.DeliverAt.Equal(m.deliverAt(h)) {
			t.Fatalf("accepted %+v, want %s until %v", r, h.state, h.until)
		}
	}
}

func (m *model) acceptAgain(t *rapid.T) {
	var keyed []*held
	for _, h := range m.all {
		if h.draft.DedupeKey != "" {
			keyed = append(keyed, h)
		}
	}
	if len(keyed) == 0 {
		return
	}
	h := rapid.SampledFrom(keyed).Draw(t, "message")
	d, want := h.draft, error(nil)
	if rapid.IntRange(0, 3).Draw(t, "other content") == 0 {
		d.Fingerprint[0] ^= 1
		want = spool.ErrKeyReused
	}
	if h.state == message.StateCancelled || h.state == message.StateDiscarded {
		want = spool.ErrKeySettled
	}
	got, err := m.Append(t.Context(), []spool.Draft{d})
	if !errors.Is(err, want) {
		t.Fatalf("append again: %v, want %v", err, want)
	}
	if err == nil && (!got[0].Duplicate || got[0].ID != h.id || got[0].State != h.state) {
		t.Fatalf("append again: %+v, want %v %s", got[0], h.id, h.state)
	}
}

// acceptAndDie kills the process at some moment of an append: there is one
// message after a retry, whenever it was.
func (m *model) acceptAndDie(t *rapid.T) {
	d := under("dying "+fmt.Sprint(m.bodies), m.draw(t))
	s := m.Spool
	answer := make(chan message.Receipt, 1)
	go func() {
		receipts, err := s.Append(context.Background(), []spool.Draft{d})
		if err != nil {
			receipts = []message.Receipt{{}}
		}
		answer <- receipts[0]
	}()
	m.die()
	first := <-answer
	m.rig.open()
	m.restarted()
	again := m.rig.accept(d)[0]
	m.synced()
	h := m.add(d, again)
	h.former = again.Duplicate
	m.awaitDelayed(m.delayed())
	m.expire(t)
	if again.Duplicate && again.ID != first.ID {
		t.Fatalf("the retry found %v, stored was %v", again.ID, first.ID)
	}
}

// leasable are the pending messages of a topic that nothing holds back.
func (m *model) leasable(topic string) (free []*held) {
	if !m.paused[topic].IsZero() {
		return nil
	}
	busy := map[string]bool{}
	for _, h := range m.all {
		if k := h.draft.OrderingKey; k != "" && h.draft.Topic == topic && (h.state == message.StateInFlight || h.state == message.StateRetrying) {
			busy[k] = true
		}
	}
	for _, h := range m.all {
		if h.draft.Topic != topic {
			continue
		}
		if h.state == message.StatePending && !h.onHold && !busy[h.draft.OrderingKey] {
			free = append(free, h)
		}
		if k := h.draft.OrderingKey; k != "" && m.keepsBack(h) { // what was accepted later waits
			busy[k] = true
		}
	}
	return free
}

// reachable: something leasable is sure to be in memory, or to be brought there,
// unless others fill the window.
func (m *model) reachable(topic string) bool {
	if len(m.leasable(topic)) == 0 {
		return false
	}
	for _, h := range m.all {
		if h.draft.Topic == topic && (h.state.Volatile() || h.onHold) && m.opts.Window > 0 {
			return false
		}
	}
	return true
}

func (m *model) lease(t *rapid.T) {
	topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
	if !m.reachable(topic) {
		return
	}
	free := m.leasable(topic)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := rapid.IntRange(1, 8).Draw(t, "most")
	var leases []*spool.Lease
	var err error
	for err == nil && len(leases) == 0 { // copies come first
		leases, err = m.Lease(ctx, topic, spool.LeaseOptions{MaxMessages: n})
		leases = m.copied(t, leases)
	}
	if err != nil || len(leases) > n {
		t.Fatalf("leased %d of %d: %v", len(leases), len(free), err)
	}
	key, first := leases[0].OrderingKey, leases[0].ID
	free, leases = m.leasedAgain(t, free, leases)
	if len(leases) > 0 && leases[0].ID == first && first != free[0].id {
		t.Fatalf("leased %s, which is not the oldest", leases[0].Body)
	}
	at := 0
	for _, l := range leases {
		of := func(h *held) bool { return h.draft.OrderingKey == key }
		for at < len(free) && !of(free[at]) {
			at++
		}
		if at == len(free) || free[at].id != l.ID {
			t.Fatalf("leased %s, which is not the next of ordering key %q", l.Body, key)
		}
		m.leased(t, free[at], l)
		at++
	}
}

func (m *model) leased(t *rapid.T, h *held, l *spool.Lease) {
	if l.TopicSeq != h.topicSeq {
		t.Fatalf("leased %s as number %d of its topic, which is %d", l.Body, l.TopicSeq, h.topicSeq)
	}
	if !slices.Equal(l.Body, h.draft.Body) || l.Topic != h.draft.Topic || l.Attempt != h.attempts+1 {
		t.Fatalf("leased %.20q, attempt %d, want %.20q after %d", l.Body, l.Attempt, h.draft.Body, h.attempts)
	}
	h.sameTimer(t, l)
	h.state, h.leased, h.away = message.StateInFlight, true, false
	h.due = m.wall.now().Add(m.opts.LeaseFor)
	m.leases[h] = l
}

func (m *model) leaseNothing(t *rapid.T) {
	topic := rapid.SampledFrom(modelTopics).Draw(t, "topic")
	if m.paused[topic].IsZero() && (len(m.leasable(topic)) > 0 || m.Ledger().Topics[topic].Resending > 0) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
	defer cancel()
	if leases, err := m.Lease(ctx, topic, spool.LeaseOptions{}); err == nil {
		t.Fatalf("leased %s, which nothing should", leases[0].Body)
	}
}

// some draws leased messages of one topic; none, when none is in flight.
func (m *model) some(t *rapid.T, most int) (hs []*held, ls []*spool.Lease) {
	var flying []*held
	for _, h := range m.all {
		if h.state == message.StateInFlight {
			flying = append(flying, h)
		}
	}
	if len(flying) == 0 {
		return nil, nil
	}
	first := rapid.IntRange(0, len(flying)-1).Draw(t, "first")
	for _, h := range flying[first:min(first+most, len(flying))] {
		hs, ls = append(hs, h), append(ls, m.leases[h])
		delete(m.leases, h)
	}
	return hs, ls
}

func (m *model) confirm(t *rapid.T) {
	hs, ls := m.some(t, 8)
	m.rig.confirm(ls)
	for _, h := range hs {
		h.state, h.unsynced = message.StateConfirmed, true
		m.handOver(h)
		h.attempts++
	}
}

func (m *model) retry(t *rapid.T) {
	hs, ls := m.some(t, 3)
	outcome := rapid.SampledFrom([]message.Outcome{message.OutcomeRetryable, message.OutcomeUnknown}).Draw(t, "outcome")
	due := m.wall.now().Add(time.Hour)
	m.Retry(ls, due, outcome, "no")
	for _, h := range hs {
		h.state, h.due = message.StateRetrying, due
		h.attempts++
		h.maybeSent = h.maybeSent || outcome == message.OutcomeUnknown
	}
	m.expire(t)
}

func (m *model) release(t *rapid.T) {
	hs, ls := m.some(t, 8)
	m.Release(ls)
	for _, h := range hs {
		h.state = message.StatePending
	}
	m.expire(t)
}

func (m *model) bury(t *rapid.T) {
	hs, ls := m.some(t, 1)
	if len(ls) == 0 {
		return
	}
	m.rig.bury(ls[0])
	hs[0].state, hs[0].away = message.StateDead, true
	hs[0].attempts++
	hs[0].expires = time.Time{}
	m.synced()
}

func (m *model) cancel(t *rapid.T) {
	if len(m.all) == 0 {
		return
	}
	h := rapid.SampledFrom(m.all).Draw(t, "message")
	got, err := m.Cancel(t.Context(), h.id)
	var want error
	switch {
	case h.state == message.StateCancelled:
		if err != nil || got.State != message.StateCancelled {
			t.Fatalf("cancel again: %v %v", got.State, err)
		}
		return
	case h.state == message.StateDelayed || h.state == message.StateHalf:
	case h.state == message.StateUndecided:
		want = spool.ErrWrongState
	case h.state != message.StatePending && h.state != message.StateRetrying:
		want = spool.ErrAlreadySent
	case h.maybeSent || h.former && h.leased:
		want = spool.ErrMaybeSent
	case h.former && errors.Is(err, spool.ErrMaybeSent):
		return // it was never leased, but might have been as far as the spool knows
	}
	if !errors.Is(err, want) {
		t.Fatalf("cancel of %s %.20s: %v, want %v", h.state, h.draft.Body, err, want)
	}
	if err == nil {
		h.state, h.onHold = message.StateCancelled, false
		m.synced()
		if got.State != message.StateCancelled {
			t.Fatalf("cancelled: %+v", got)
		}
	}
}

func (m *model) wait(t *rapid.T) {
	if len(m.all) == 0 {
		return
	}
	h := rapid.SampledFrom(m.all).Draw(t, "message")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	got, err := m.Wait(ctx, h.id)
	if err != nil {
		t.Fatalf("wait for %s: %v", h.state, err)
	}
	m.same(t, h, got)
}

func (m *model) kill(t *rapid.T) {
	m.rig.kill()
	m.restarted()
	m.awaitDelayed(m.delayed())
	m.expire(t)
	m.audit(t)
}

func (m *model) reopen(t *rapid.T) {
	m.synced()
	m.rig.reopen()
	m.restarted()
	m.awaitDelayed(m.delayed())
	m.expire(t)
	m.audit(t)
}
