package spool_test

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// byNumber finds messages of a topic, in any state, by ranges of their numbers.
func (r *rig) byNumber(topic string, origin message.SpoolID, ranges ...spool.NumberRange) map[uint64]string {
	r.t.Helper()
	found := map[uint64]string{}
	for cursor := ""; ; {
		page, err := r.List(context.Background(), spool.Query{
			Topic: topic, States: message.States(), Cursor: cursor, Limit: 2, Numbers: &spool.Numbers{Origin: origin, Ranges: ranges},
		})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, item := range page.Items {
			n := item.TopicSeq
			if item.Message != nil {
				n = item.Message.TopicSeq
			}
			found[n] = fmt.Sprint(item.ID, " ", item.State)
		}
		if cursor = page.Next; cursor == "" {
			return found
		}
	}
}

// TestMessagesAreFoundByTheirNumbers: whatever became of them, also after a restart,
// and no others.
func TestMessagesAreFoundByTheirNumbers(t *testing.T) {
	r := newRig(t, spool.Options{})
	want := map[uint64]string{}
	var ids []message.ID
	for i := range 8 {
		ids = append(ids, r.accept(draft("t", fmt.Sprint(i)))[0].ID)
		r.accept(draft("other", fmt.Sprint(i)))
	}
	r.confirm(r.lease("t", 2))
	r.bury(r.lease("t", 1)[0])
	if _, err := r.Cancel(t.Context(), ids[6]); err != nil {
		t.Fatal(err)
	}
	for n, state := range map[uint64]message.State{2: message.StateConfirmed, 3: message.StateDead, 5: message.StatePending, 6: message.StatePending, 7: message.StateCancelled} {
		want[n] = fmt.Sprint(ids[n-1], " ", state)
	}
	ranges := []spool.NumberRange{{First: 2, Last: 3}, {First: 5, Last: 7}, {First: 90, Last: 99}}
	for _, how := range []func(){func() {}, r.reopen, r.kill} {
		how()
		if got := r.byNumber("t", r.ID(), ranges...); !maps.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
	}
	if got := r.byNumber("t", message.SpoolID{1}, ranges...); len(got) > 0 {
		t.Errorf("found under another origin: %v", got)
	}
}
