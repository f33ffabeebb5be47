package spool_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func retaining() spool.Options {
	return spool.Options{RetainFor: time.Hour, RetainBytes: 64 << 20}
}

// resend orders what the filter chooses and fails the test unless it is n messages.
func (r *rig) resend(f spool.ResendFilter, n int) spool.Resent {
	r.t.Helper()
	dry, err := r.Resend(context.Background(), f, true)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := r.Resend(context.Background(), f, false)
	if err != nil || got.Messages != n || fmt.Sprint(dry) != fmt.Sprint(got) {
		r.t.Fatalf("resent %+v, want %d (%v); a dry run said %+v", got, n, err, dry)
	}
	return got
}

// confirmAll leases and confirms all that waits of a topic, and returns it.
func (r *rig) confirmAll(topic string) (all []*spool.Lease) {
	r.t.Helper()
	for r.Waiting(topic) > 0 {
		leases := r.lease(topic, 0)
		all = append(all, leases...)
		r.confirm(leases)
		r.flush()
	}
	return all
}

// flush lets what was confirmed be recorded.
func (r *rig) flush() {
	r.t.Helper()
	if err := r.attach().Commit(context.Background(), func(*kv.Tx) {}, 1<<10); err != nil {
		r.t.Fatal(err)
	}
}

func what(leases []*spool.Lease) (all []string) {
	for _, l := range leases {
		all = append(all, fmt.Sprintf("%s %d %.8s %d", l.ID, l.TopicSeq, l.Body, len(l.Body)))
	}
	return all
}

// What was confirmed when a resend begins is sent again, and counted by a dry run, though
// its commit has not come yet.
func TestWhatWasJustConfirmedIsSentAgain(t *testing.T) {
	r := newRig(t, retaining())
	for _, topic := range []string{"dry", "wet"} {
		r.accept(draft(topic, "1"))
		r.confirm(r.lease(topic, 0))
		if got, err := r.Resend(t.Context(), spool.ResendFilter{Topic: topic}, topic == "dry"); err != nil || got.Messages != 1 {
			t.Errorf("%s: %+v, %v", topic, got, err)
		}
	}
	r.kill()
	if c := r.Ledger().Total; c.Confirmed != 2 || c.Resending != 1 {
		t.Errorf("after a kill: %+v", c)
	}
}

// What was confirmed comes again under the same IDs and numbers, byte for byte,
// after reopens and kills, and the ledger accepts nothing for it.
func TestConfirmedMessagesAreSentAgain(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(draft("t", "one"), draft("t", large('L')), draft("t", "three"))
	r.accept(draft("t", "four"))
	want := what(r.confirmAll("t"))
	for life, how := range []func(){func() {}, r.reopen, r.kill} {
		how()
		r.resend(spool.ResendFilter{}, 4)
		if c := r.Ledger().Total; c.Accepted != 4 || c.Confirmed != 4 || c.InSpool.Held() != 0 || c.Resending != 4 {
			t.Fatalf("%+v", c)
		}
		r.balanced()
		if got := what(r.confirmAll("t")); !slices.Equal(got, want) {
			t.Fatalf("sent again %q, want %q", got, want)
		}
		if c := r.Ledger().Total; c.Accepted != 4 || c.Confirmed != 4 || c.Resending != 0 || c.Resent != uint64(4*(life+1)) {
			t.Fatalf("%+v", c)
		}
		r.none("t")
		r.balanced()
	}
}

// A crash after the answer leaves none out; one in the middle repeats.
func TestOrderedResendSurvivesAKill(t *testing.T) {
	r := newRig(t, retaining())
	for i := range 3 {
		r.accept(draft("t", fmt.Sprint(i, "a")), draft("t", fmt.Sprint(i, "b")))
	}
	want := what(r.confirmAll("t"))
	r.resend(spool.ResendFilter{}, 6)
	r.kill()
	if c := r.Ledger().Total; c.Resending != 6 {
		t.Fatalf("%+v", c)
	}
	r.confirm(r.lease("t", 1)) // of the first block
	r.flush()
	r.kill()
	if got := what(r.confirmAll("t")); !slices.Equal(got, want) {
		t.Fatalf("sent again %q, want %q", got, want)
	}
	r.kill()
	r.none("t")
	if c := r.Ledger().Total; c.Resent != 6 {
		t.Errorf("%+v", c)
	}
	r.balanced()
}

// What was cancelled or is a dead letter is never sent again, whatever is left
// of its block and however often the spool was opened since.
func TestOnlyConfirmedMessagesAreSentAgain(t *testing.T) {
	r := newRig(t, retaining())
	all := r.accept(draft("t", "cancelled"), draft("t", "refused"), draft("t", "fine"), draft("t", large('c')), draft("t", "waits"))
	for _, i := range []int{0, 3} {
		if _, err := r.Cancel(t.Context(), all[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	r.bury(r.lease("t", 1)[0])
	fine := r.lease("t", 1)
	r.confirm(fine)
	r.flush()
	for _, how := range []func(){func() {}, r.reopen, r.kill} {
		how()
		r.lease("t", 1) // brings the block into memory
		r.resend(spool.ResendFilter{}, 1)
		if got := what(r.lease("t", 1)); !slices.Equal(got, what(fine)) {
			t.Fatalf("sent again %q, want %q", got, what(fine))
		}
		r.kill()
		copied := r.lease("t", 1)
		if copied[0].ID != fine[0].ID {
			t.Fatalf("%s, want the copy", copied[0].Body)
		}
		r.confirm(copied)
		r.flush()
	}
	r.confirmAll("t")
	r.reopen()
	got := r.resend(spool.ResendFilter{IDs: []message.ID{all[0].ID, all[1].ID, all[2].ID, all[4].ID}}, 2)
	if fmt.Sprint(got.Missing) != fmt.Sprint([]message.ID{all[0].ID, all[1].ID}) {
		t.Errorf("missing %v", got.Missing)
	}
	if got := bodies(r.confirmAll("t")); fmt.Sprint(got) != "[fine waits]" {
		t.Errorf("sent again %v", got)
	}
	r.balanced()
}

// Copies do not change the order of what is pending, and of an ordering key one
// message is in flight at a time, be it a copy.
func TestResendKeepsTheOrderOfPendingMessages(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(keyed("t", "k1", "k"), draft("t", "1"))
	r.confirmAll("t")
	r.accept(keyed("t", "k2", "k"), draft("t", "2"), keyed("t", "k3", "k"), draft("t", "3"))
	r.resend(spool.ResendFilter{}, 2)
	first := r.lease("t", 1)
	if got := bodies(first); fmt.Sprint(got) != "[k1]" {
		t.Fatalf("%v", got)
	}
	var rest []string
	for range 2 {
		leases := r.lease("t", 0)
		rest = append(rest, bodies(leases)...)
		r.confirm(leases)
	}
	if fmt.Sprint(rest) != "[1 2 3]" {
		t.Errorf("while a copy of the key is in flight: %v", rest)
	}
	r.none("t")
	r.confirm(first)
	if got := bodies(r.confirmAll("t")); fmt.Sprint(got) != "[k2 k3]" {
		t.Errorf("then %v", got)
	}
	r.balanced()
}

func TestCopiesAreRetriedAndReleased(t *testing.T) {
	clock := newClock()
	opts := retaining()
	opts.Now = clock.now
	r := newRig(t, opts)
	r.accept(draft("t", "x"))
	r.confirmAll("t")
	r.resend(spool.ResendFilter{}, 1)
	leases := r.lease("t", 0)
	r.Release(leases)
	leases = r.lease("t", 0)
	r.Retry(leases, clock.now().Add(time.Minute), message.OutcomeUnknown, "no answer")
	r.none("t")
	clock.advance(2 * time.Minute)
	leases = r.lease("t", 0)
	if leases[0].Attempt != 2 {
		t.Errorf("attempt %d", leases[0].Attempt)
	}
	clock.advance(10 * time.Minute) // it lapses
	again := r.lease("t", 0)
	r.confirm(again)
	r.confirm(leases)
	r.flush()
	if c := r.Ledger().Total; c.Resent != 1 || c.Resending != 0 {
		t.Errorf("%+v", c)
	}
	r.resend(spool.ResendFilter{}, 1)
	r.bury(r.lease("t", 0)[0]) // refused: its message was confirmed, and is no dead letter
	if c := r.Ledger().Total; c.InSpool.Dead != 0 || c.Resending != 0 || c.Resent != 1 {
		t.Errorf("%+v", c)
	}
	r.none("t")
	r.balanced()
}

func TestResendChooses(t *testing.T) {
	clock := newClock()
	opts := retaining()
	opts.Now = clock.now
	r := newRig(t, opts)
	start := clock.now()
	var ids []message.ID
	for range 3 {
		for _, topic := range []string{"a", "b"} {
			ids = append(ids, r.accept(draft(topic, fmt.Sprint(len(ids))))[0].ID)
			r.confirmAll(topic)
		}
		clock.advance(time.Minute)
	}
	r.reopen()
	at := start.Add
	for _, c := range []struct {
		name   string
		filter spool.ResendFilter
		want   []string // topic a, topic b
	}{
		{"a topic", spool.ResendFilter{Topic: "a"}, []string{"[0 2 4]", "[]"}},
		{"no such topic", spool.ResendFilter{Topic: "c"}, []string{"[]", "[]"}},
		{"since", spool.ResendFilter{Since: at(30 * time.Second)}, []string{"[2 4]", "[3 5]"}},
		{"until", spool.ResendFilter{Until: at(90 * time.Second)}, []string{"[0 2]", "[1 3]"}},
		{"between", spool.ResendFilter{Since: at(30 * time.Second), Until: at(90 * time.Second), Topic: "b"}, []string{"[]", "[3]"}},
		{"IDs", spool.ResendFilter{IDs: []message.ID{ids[4], ids[1]}}, []string{"[4]", "[1]"}},
	} {
		total := 0
		for _, want := range c.want {
			total += len(strings.Fields(strings.Trim(want, "[]")))
		}
		r.resend(c.filter, total)
		if again, err := r.Resend(t.Context(), c.filter, false); err != nil || again.Messages != 0 || again.Already != total {
			t.Errorf("%s: ordered again %+v (%v)", c.name, again, err)
		}
		for i, topic := range []string{"a", "b"} {
			if got := fmt.Sprint(bodies(r.confirmAll(topic))); got != c.want[i] {
				t.Errorf("%s: topic %s got %s, want %s", c.name, topic, got, c.want[i])
			}
		}
	}
	r.balanced()
}

// nothingKept fails the test when anything is left of confirmed messages.
func (r *rig) nothingKept() {
	r.t.Helper()
	for _, prefix := range []string{"sm", "si", "sv", "sn", "sg", "sx", "sc"} {
		if left := r.find(prefix); len(left) != 0 {
			r.t.Errorf("%d entries %s are left", len(left), prefix)
		}
	}
	if k := r.Retained(); k.Bytes != 0 || k.Blocks != 0 {
		r.t.Errorf("%+v", k)
	}
}

func TestRetentionEndsByTime(t *testing.T) {
	clock := newClock()
	opts := retaining()
	opts.Now = clock.now
	r := newRig(t, opts)
	all := r.accept(draft("t", "one"), draft("t", large('L')), draft("t", "cancelled"))
	if _, err := r.Cancel(t.Context(), all[2].ID); err != nil {
		t.Fatal(err)
	}
	r.confirmAll("t")
	clock.advance(59 * time.Minute)
	for _, how := range []func(){func() {}, r.reopen, r.kill} {
		how()
		if err := r.Expire(); err != nil {
			t.Fatal(err)
		}
		if k := r.Retained(); k.Blocks != 2 || k.Bytes < 70<<10 {
			t.Fatalf("%+v", k)
		}
	}
	r.resend(spool.ResendFilter{}, 2)
	clock.advance(2 * time.Minute)
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	if got := r.confirmAll("t"); len(got) != 2 { // ordered: kept until it is done
		t.Fatalf("%d copies", len(got))
	}
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	r.nothingKept()
	r.balanced()
	r.reopen()
	r.nothingKept()
	r.resend(spool.ResendFilter{}, 0)
}

func TestRetentionIsBoundedByBytes(t *testing.T) {
	opts := retaining()
	opts.RetainBytes = 256 << 10
	r := newRig(t, opts)
	for i := range 64 {
		r.accept(draft("t", string(bytes.Repeat([]byte{byte('A' + i%26)}, 16<<10))))
		r.confirmAll("t")
	}
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	kept := r.Retained()
	if kept.Bytes > 256<<10 || kept.Bytes < 128<<10 {
		t.Fatalf("%+v", kept)
	}
	got := r.resend(spool.ResendFilter{}, kept.Blocks)
	sent := r.confirmAll("t")
	if last := sent[len(sent)-1]; last.TopicSeq != 64 || sent[0].TopicSeq != uint64(64-got.Messages+1) {
		t.Errorf("kept are not the newest: %v", numbers(sent))
	}
	r.balanced()
}

func TestRetainedIsGivenUpForRoom(t *testing.T) {
	r := newRig(t, retaining())
	for range 20 {
		r.accept(draft("t", large('x')))
		r.confirmAll("t")
	}
	r.accept(draft("t", "held"))
	before := r.Retained()
	dropped, err := r.GiveUpRetained(1)
	if err != nil || dropped <= 0 || r.Retained().Bytes != before.Bytes-dropped {
		t.Fatalf("%d of %+v, left %+v (%v)", dropped, before, r.Retained(), err)
	}
	if dropped, err = r.GiveUpRetained(1 << 40); err != nil || r.Retained().Bytes != 0 {
		t.Fatalf("%d, left %+v (%v)", dropped, r.Retained(), err)
	}
	if got := bodies(r.confirmAll("t")); fmt.Sprint(got) != "[held]" {
		t.Errorf("%v", got)
	}
	r.balanced()
}

func TestWithoutRetentionNothingIsKept(t *testing.T) {
	r := newRig(t, spool.Options{})
	all := r.accept(draft("t", "one"), draft("t", large('L')), draft("t", "cancelled"))
	if _, err := r.Cancel(t.Context(), all[2].ID); err != nil {
		t.Fatal(err)
	}
	r.confirmAll("t")
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	r.nothingKept()
	r.balanced()
}

// What is confirmed while nothing is to be kept goes at once; what was kept before
// stays for its time, and a block of which some was confirmed then and some when
// it is kept again brings no copy that has lost its payload.
func TestKeepingIsDecidedWhileItRuns(t *testing.T) {
	r := newRig(t, retaining())
	kept := r.accept(draft("t", "kept"), draft("t", large('L')))
	r.confirmAll("t")
	r.KeepConfirmed(false)
	gone := r.accept(draft("t", "gone"), draft("t", large('G')))
	r.confirmAll("t")
	mixed := r.accept(draft("t", large('M')), draft("t", "mixed"))
	first := r.lease("t", 1)
	r.confirm(first)
	r.flush()
	r.KeepConfirmed(true)
	r.confirmAll("t")
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	for _, how := range []func(){func() {}, r.reopen} {
		how()
		r.balanced()
		got := r.resend(spool.ResendFilter{IDs: []message.ID{kept[0].ID, kept[1].ID, gone[0].ID, gone[1].ID, mixed[0].ID, mixed[1].ID}}, 3)
		if want := []message.ID{gone[0].ID, gone[1].ID, mixed[0].ID}; !slices.Equal(got.Missing, want) {
			t.Errorf("missing are %v, want %v", got.Missing, want)
		}
		if sent := what(r.confirmAll("t")); len(sent) != 3 {
			t.Errorf("sent again %q", sent)
		}
	}
}

// Keeping costs entries, and no second writing of a body.
func TestRetentionWritesNoBodyAgain(t *testing.T) {
	wrote := map[bool]uint64{}
	for _, on := range []bool{false, true} {
		opts := spool.Options{}
		if on {
			opts = retaining()
		}
		r := newRig(t, opts)
		for range 50 {
			r.accept(repeat(20, draft("t", string(make([]byte, 1<<10))))...)
			r.confirmAll("t")
		}
		wrote[on] = r.db.Stats().Bytes
	}
	if more := float64(wrote[true]) / float64(wrote[false]); more > 1.01 {
		t.Errorf("wrote %d bytes with retention, %d without: %.3f times", wrote[true], wrote[false], more)
	} else {
		t.Logf("wrote %d bytes with retention, %d without: %.4f times", wrote[true], wrote[false], more)
	}
}

// The order that ends and the next one of the same block may share a commit.
func TestOrderedAgainInTheCommitThatEndsTheOrder(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(draft("t", "x"))
	r.confirmAll("t")
	r.resend(spool.ResendFilter{}, 1)
	leases := r.lease("t", 0)
	goOn := r.hold()
	r.confirm(leases)
	again := make(chan spool.Resent, 1)
	go func(s *spool.Spool) {
		got, err := s.Resend(t.Context(), spool.ResendFilter{}, false)
		if err != nil {
			t.Error(err)
		}
		again <- got
	}(r.Spool)
	eventually(t, func() bool { return r.db.Stats().Queued >= 2 })
	goOn()
	if got := <-again; got.Messages != 1 {
		t.Fatalf("%+v", got)
	}
	r.kill()
	if got := r.lease("t", 0); got[0].ID != leases[0].ID || r.Ledger().Total.Resent != 1 {
		t.Fatalf("%s", got[0].ID)
	}
	r.balanced()
}
