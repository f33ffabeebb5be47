package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/deadletter"
)

// awaits is what a redrive waits for; "": it goes on.
func (p *operation) awaits() string {
	switch {
	case p.State != "running" || p.Open <= 0:
		return ""
	case p.Phase == "canary":
		return fmt.Sprintf("waiting for the outcome of the first %d", p.Open)
	case p.Phase == "waiting":
		return fmt.Sprintf("waiting for the outcome of %d", p.Open)
	case p.Phase == "redriving" && p.Open >= deadletter.MaxOpen:
		return fmt.Sprintf("waiting until fewer than %d are without an outcome", deadletter.MaxOpen)
	}
	return ""
}

// stuckBy is why nothing goes on, as far as that is a paused topic; "": it is not, or
// others go on.
func (p *operation) stuckBy() string {
	if p.awaits() == "" {
		return ""
	}
	return p.waitsFor()
}

// lookAgain is how often the sidecar is asked what its broker is at.
const lookAgain = 2 * time.Second

// waiting tells what an operation waits for, and whether that is the broker. It belongs
// to one goroutine.
type waiting struct {
	s      *spooler
	asked  time.Time
	broker string // what is said of it; "": nothing
}

// tell is in few words; "": it waits for nothing.
func (w *waiting) tell(ctx context.Context, p *operation) string {
	words := p.awaits()
	switch why := p.waitsFor(); {
	case words == "" && why != "" && p.State == "running":
		return p.Phase + ", beside what waits " + why
	case words == "":
		return p.Phase
	}
	if time.Since(w.asked) >= lookAgain {
		w.asked, w.broker = time.Now(), brokerAway(ctx, w.s)
	}
	return words + w.broker
}

// brokerAway is what the sidecar says of a broker that takes nothing; "": it does, or
// that is not known.
func brokerAway(ctx context.Context, s *spooler) string {
	var status struct {
		Conditions []admin.ConditionStatus `json:"conditions"`
	}
	raw, err := s.ask(ctx, http.MethodGet, "/v1/status")
	if err != nil || json.Unmarshal(raw, &status) != nil {
		return ""
	}
	for _, is := range status.Conditions {
		if is.Name == admin.Broker && is.Since != nil {
			return "; the broker is unreachable, or takes nothing, since " + instant(*is.Since)
		}
	}
	return ""
}
