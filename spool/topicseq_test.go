package spool_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// leaseAll leases what waits of a topic.
func (r *rig) leaseAll(topic string) (all []*spool.Lease) {
	r.t.Helper()
	for n := r.Waiting(topic); len(all) < n; {
		all = append(all, r.lease(topic, 0)...)
	}
	return all
}

func numbers(leases []*spool.Lease) (all []uint64) {
	for _, l := range leases {
		all = append(all, l.TopicSeq)
	}
	return all
}

// Each topic has numbers of its own, without a gap: over commits, topics that
// come in between, payloads stored apart, retries, reopens and kills.
func TestTopicSequenceIsContiguousAndStable(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("a", "1"), draft("b", "1"), draft("a", "2"))
	r.accept(draft("b", large('2')))
	r.accept(draft("a", "3"), draft("b", "3"))
	first := r.lease("a", 1)
	if l := first[0]; l.TopicSeq != 1 || l.ID.Spool() != r.ID() {
		t.Fatalf("%d of %s, want 1 of %s", l.TopicSeq, l.ID.Spool(), r.ID())
	}
	r.Release(first)
	for life, how := range []func(){func() {}, r.reopen, r.kill, r.reopen} {
		how()
		r.accept(draft("a", fmt.Sprint(4+life)))
		for _, topic := range []string{"a", "b"} {
			leases := r.leaseAll(topic)
			for i, l := range leases {
				if l.TopicSeq != uint64(i)+1 || l.Body[0] != '1'+byte(i) {
					t.Errorf("%d of topic %s is %.1s, number %d", i, topic, l.Body, l.TopicSeq)
				}
			}
			r.Release(leases)
		}
		r.balanced()
	}
}

func TestTopicSequenceGoesOnAfterAllIsConfirmed(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "1"), draft("t", "2"))
	r.confirm(r.lease("t", 0))
	for _, how := range []func(){r.reopen, r.kill} {
		how()
		before := r.Ledger().Total.Accepted
		r.accept(draft("t", "next"))
		leases := r.leaseAll("t") // after a kill what was confirmed last comes again
		if got := numbers(leases); got[len(got)-1] != before+1 || len(got) > 2 {
			t.Errorf("numbers %v after %d", got, before)
		}
		r.confirm(leases)
	}
	r.reopen()
	r.balanced()
}

// A dead letter takes its number along.
func TestDeadLetterKeepsItsTopicSequence(t *testing.T) {
	r := booked(t)
	dead := r.find("sd")[0]
	if !bytes.Contains(dead.value, []byte("5")) {
		t.Fatal("not the dead letter of booked")
	}
	r.accept(draft("t", "7"))
	r.balanced()
	if got := r.leaseAll("t"); fmt.Sprint(numbers(got)) != "[2 3 6 7]" {
		t.Errorf("numbers %v", numbers(got))
	}
}

func TestCopiedVolumeBeginsANewNumbering(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "1"), draft("t", "2"))
	was := r.ID()
	r.moveVolume()
	if r.ID() == was {
		t.Fatal("no new spool ID")
	}
	r.accept(draft("t", "3"), draft("t", "4"))
	r.reopen()
	r.balanced()
	for i, l := range r.leaseAll("t") {
		want, origin := uint64(i)+1, was
		if i >= 2 {
			want, origin = uint64(i)-1, r.ID()
		}
		if l.TopicSeq != want || l.ID.Spool() != origin {
			t.Errorf("message %d has number %d of %s, want %d of %s", i, l.TopicSeq, l.ID.Spool(), want, origin)
		}
	}
}

// The database lost what it had acknowledged: how far the numbers went is not
// known for certain, so none of that spool ID is given any more.
func TestDamagedDatabaseBeginsANewNumbering(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "1"))
	was := r.ID()
	for i := range 5 {
		r.accept(draft("t", fmt.Sprint(i)))
	}
	r.kill()
	if r.ID() != was {
		t.Fatal("a new spool ID without damage")
	}
	for i := range 5 {
		r.accept(draft("t", fmt.Sprint("then ", i)))
	}
	r.die()
	log := r.log()
	log[bytes.Index(log, []byte("then 1"))] ^= 1
	r.setLog(log)
	r.open()
	if r.db.Damage() == nil {
		t.Fatal("the database found no damage: the test proves nothing")
	}
	now := r.ID()
	if now == was {
		t.Fatal("the numbers of a damaged spool go on")
	}
	if got := r.accept(draft("t", "new"))[0]; got.ID.Spool() != now {
		t.Fatalf("%s is not of %s", got.ID, now)
	}
	r.reopen()
	if r.ID() != now {
		t.Fatal("one damage is answered with two new spool IDs")
	}
	var last *spool.Lease
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for last == nil || string(last.Body) != "new" {
		leases, err := r.Lease(ctx, "t", spool.LeaseOptions{})
		if err != nil {
			t.Fatal(err)
		}
		last = leases[len(leases)-1]
	}
	if last.TopicSeq != 1 {
		t.Fatalf("number %d, want 1", last.TopicSeq)
	}
}

// The numbers of messages that were accepted before there were any, and of IDs
// that are used up, do not get in the way.
func TestManySpoolIDs(t *testing.T) {
	r := newRig(t, spool.Options{})
	seen := map[message.SpoolID]bool{}
	for range 12 {
		r.accept(draft("t", "x"), draft("t", "y"))
		if seen[r.ID()] {
			t.Fatal("the same spool ID")
		}
		seen[r.ID()] = true
		r.balanced()
		r.moveVolume()
	}
	r.balanced()
	if got := numbers(r.leaseAll("t")); fmt.Sprint(got) != fmt.Sprint(repeatNumbers(12)) {
		t.Errorf("%v", got)
	}
}

// moveVolume reopens the spool as on another volume.
func (r *rig) moveVolume() {
	r.t.Helper()
	r.close()
	file := filepath.Join(r.dir, "spool.id")
	if err := os.Rename(file, file+fmt.Sprint(time.Now().UnixNano())); err != nil { // kept: its inode is taken
		r.t.Fatal(err)
	}
	r.open()
}

func repeatNumbers(n int) (all []uint64) {
	for range n {
		all = append(all, 1, 2)
	}
	return all
}
