package message_test

import (
	"fmt"
	"testing"

	"github.com/remora-mq/remora/message"
)

// names returns the names of a history's events.
func names(h *message.History) string {
	text := ""
	for _, e := range h.Events() {
		text += e.Name + " "
	}
	return text
}

func TestHistoryKeepsBothEnds(t *testing.T) {
	var h message.History
	if len(h.Events()) != 0 {
		t.Error("an empty history has events")
	}
	for i := 1; i <= 100; i++ {
		h.Add(message.Event{Name: fmt.Sprint(i)})
		if kept := len(h.Events()); kept+h.Skipped != i || kept != min(i, 16) {
			t.Fatalf("after %d events %d are kept and %d skipped", i, kept, h.Skipped)
		}
	}
	if got, want := names(&h), "1 2 3 4 5 6 7 8 93 94 95 96 97 98 99 100 "; got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
}

// TestHistoryIsAValue: a receipt handed out does not change when the message goes on.
func TestHistoryIsAValue(t *testing.T) {
	var h message.History
	for i := 1; i <= 30; i++ {
		h.Add(message.Event{Name: fmt.Sprint(i)})
		copied := h
		before := names(&copied)
		for range 20 {
			h.Add(message.Event{Name: "later"})
		}
		if after := names(&copied); after != before {
			t.Fatalf("after %d events the copy turned from %s to %s", i, before, after)
		}
		h = copied
	}
}

func TestEventsIsACopy(t *testing.T) {
	var h message.History
	h.Add(message.Event{Name: "a"})
	h.Events()[0].Name = "b"
	if names(&h) != "a " {
		t.Error("changing Events changes the history")
	}
}
