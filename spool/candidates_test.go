package spool_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// halfConfirmed accepts seven messages of two topics in three blocks and confirms
// the first of each; what is left waits on disk, and nothing is in memory.
func halfConfirmed(t *testing.T, opts spool.Options) (r *rig, all []message.Receipt) {
	t.Helper()
	window := opts.Window
	opts.Window = 0
	r = newRig(t, opts)
	all = append(all, r.accept(draft("t", "1"), draft("t", "2"))...)
	all = append(all, r.accept(draft("u", "3"), draft("u", "4"))...)
	all = append(all, r.accept(draft("t", "5"), draft("t", "6"), draft("t", large('7')))...)
	first := r.lease("t", 0)
	r.confirm([]*spool.Lease{first[0], first[2], first[4]})
	r.confirm(r.lease("u", 1))
	r.flush()
	r.opts.Window = window
	r.kill()
	return r, all
}

// A block of which one message is confirmed and another one waits is found also
// when it is not in memory: after a start, on a directory, behind the window.
func TestResendFindsWhatIsNotInMemory(t *testing.T) {
	tiny := retaining()
	tiny.Window = 1
	for name, opts := range map[string]spool.Options{"large window": retaining(), "window of one": tiny} {
		for _, c := range []struct {
			name   string
			filter func(all []message.Receipt) spool.ResendFilter
			want   int
		}{
			{"all", func([]message.Receipt) spool.ResendFilter { return spool.ResendFilter{} }, 4},
			{"a topic", func([]message.Receipt) spool.ResendFilter { return spool.ResendFilter{Topic: "t"} }, 3},
			{"since", func([]message.Receipt) spool.ResendFilter {
				return spool.ResendFilter{Since: time.Now().Add(-time.Hour)}
			}, 4},
			{"until", func(all []message.Receipt) spool.ResendFilter {
				return spool.ResendFilter{Until: all[0].AcceptedAt.Add(-time.Second)}
			}, 0},
			{"IDs", func(all []message.Receipt) spool.ResendFilter {
				return spool.ResendFilter{IDs: []message.ID{all[0].ID, all[2].ID}}
			}, 2},
		} {
			t.Run(name+", "+c.name, func(t *testing.T) {
				t.Parallel()
				r, all := halfConfirmed(t, opts)
				if got := r.resend(c.filter(all), c.want); len(got.Missing) > 0 {
					t.Fatalf("missing %v", got.Missing)
				}
				seen := map[message.ID]int{}
				for _, topic := range []string{"t", "u"} {
					for _, l := range r.confirmAll(topic) {
						seen[l.ID]++
					}
				}
				if len(seen) != 3+c.want {
					t.Errorf("sent %d messages, want %d", len(seen), 3+c.want)
				}
				r.balanced()
			})
		}
	}
}

// By ID, what is not found is said to be missing, whatever the reason.
func TestResendNamesWhatItDoesNotFind(t *testing.T) {
	r, all := halfConfirmed(t, retaining())
	waits, payload, none := all[1].ID, all[6].ID, message.NewID(message.SpoolID{1}, 1, 1, time.Now())
	for _, prefix := range []string{"sx", "sc"} { // the payload of a confirmed message
		r.removed(prefix)
	}
	got := r.resend(spool.ResendFilter{IDs: []message.ID{waits, payload, none, all[0].ID}}, 1)
	if want := []message.ID{waits, payload, none}; !slices.Equal(got.Missing, want) {
		t.Errorf("missing %v, want %v", got.Missing, want)
	}
}

// A block of which the last message was lost is kept by nobody, and passed by no
// lane yet: what was confirmed of it is there all the same.
func TestResendFindsABlockThatNoLaneHasPassed(t *testing.T) {
	r := newRig(t, retaining())
	r.accept(draft("t", "fine"), draft("t", "lost"))
	r.confirm(r.lease("t", 1))
	r.flush()
	r.whileClosed(func() {
		r.damaged("sm", flipLast)
		r.damaged("sb", flipLast) // has all of it compared
	})
	if lost := r.Ledger().Total.Lost; lost != 1 {
		t.Fatalf("%d are lost", lost)
	}
	r.resend(spool.ResendFilter{}, 1)
	if got := bodies(r.confirmAll("t")); fmt.Sprint(got) != "[fine]" {
		t.Errorf("sent again %v", got)
	}
}

// Imported messages have no number in their topic, and are kept as all others.
func TestImportedMessagesAreSentAgain(t *testing.T) {
	from, to := newRig(t, spool.Options{}), newRig(t, retaining())
	id := from.accept(draft("t", "moved"))[0].ID
	to.take(from.export(spool.Query{}))
	to.confirmAll("t")
	to.reopen()
	to.resend(spool.ResendFilter{}, 1)
	if got := to.confirmAll("t"); got[0].ID != id {
		t.Errorf("sent again %s, want %s", got[0].ID, id)
	}
	to.balanced()
}

// hop passes over no block that reaches into a range with settled messages, and
// never goes back.
func TestHopPassesOverNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		ranges := []uint64{}
		for rng := range uint64(64) {
			if random.IntN(20) == 0 {
				ranges = append(ranges, rng)
			}
		}
		first := random.Uint64N(64 << 12)
		next, found := spool.Hop(ranges, first)
		if found && next < first {
			t.Fatalf("back from %d to %d", first, next)
		}
		begin, count := first+random.Uint64N(64<<12-first), random.Uint64N(1<<16-1)+1
		reaches := slices.ContainsFunc(ranges, func(rng uint64) bool { return begin>>12 <= rng && (begin+count-1)>>12 >= rng })
		if reaches && (!found || begin < next) {
			t.Fatalf("from %d to %d (%v), over the block at %d of %d: ranges %d", first, next, found, begin, count, ranges)
		}
	}
}
