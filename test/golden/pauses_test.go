package golden

import (
	"errors"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// ofPause is the topic that is paused, with heldPaused messages.
const (
	ofPause    = "shipments"
	heldPaused = 2
)

func (h *house) pause() {
	h.t.Helper()
	for n := range heldPaused {
		h.append(draft(ofPause, n+1))
	}
	_, err := h.spool.PauseTopic(h.t.Context(), ofPause)
	h.must(err)
}

// resume has what was paused confirmed. It may be of a version in which nothing was.
func (h *house) resume() {
	h.t.Helper()
	err := h.spool.ResumeTopic(h.t.Context(), ofPause)
	if errors.Is(err, spool.ErrNotFound) {
		return
	}
	h.must(err)
	h.spool.Confirm(h.lease(ofPause, heldPaused), make([]message.Confirmation, heldPaused))
}

func (h *house) paused() map[string]time.Time {
	all := h.spool.Paused()
	for topic, since := range all {
		all[topic] = since.UTC()
	}
	return all
}
