package admin

import (
	"net/http"
	"time"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// resendRequest orders confirmed messages to be sent again.
type resendRequest struct {
	Filter struct {
		Topic string       `json:"topic"`
		Since time.Time    `json:"since"` // confirmed then or later
		Until time.Time    `json:"until"`
		IDs   []message.ID `json:"ids"`
	} `json:"filter"`
	DryRun bool `json:"dry_run"`
}

// resendAnswer is what was ordered, or would be.
type resendAnswer struct {
	Messages int          `json:"messages"`
	Bytes    int64        `json:"bytes"`
	Already  int          `json:"already_ordered"`
	Missing  []message.ID `json:"missing"` // of the filter's IDs: not confirmed, or no longer kept
	DryRun   bool         `json:"dry_run"`
}

const (
	maxResendBody = 256 << 10
	maxResendIDs  = 1000
)

// resend answers POST /v1/messages/resend.
func (a *api) resend(w http.ResponseWriter, r *http.Request) {
	req, p := readResend(r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	s, ok := a.open(w)
	if !ok {
		return
	}
	f := spool.ResendFilter{Topic: req.Filter.Topic, Since: req.Filter.Since, Until: req.Filter.Until, IDs: req.Filter.IDs}
	got, err := s.Resend(r.Context(), f, req.DryRun)
	if err != nil {
		a.refuse(w, err, message.Receipt{})
		return
	}
	status := http.StatusOK
	if !req.DryRun {
		status = http.StatusAccepted
		a.log.Info("an operator ordered confirmed messages to be sent again", "messages", got.Messages, "bytes", got.Bytes,
			"topic", f.Topic, "since", f.Since, "until", f.Until, "ids", len(f.IDs))
	}
	answer := resendAnswer{got.Messages, got.Bytes, got.Already, got.Missing, req.DryRun}
	if answer.Missing == nil {
		answer.Missing = []message.ID{}
	}
	writeJSON(w, status, answer)
}

// readResend wants one JSON object with a filter that chooses: all that is kept
// is asked for by a time.
func readResend(r *http.Request) (req resendRequest, p *problem.Problem) {
	if p := readObject(r, &req, `{"filter": {"topic", "since", "until", "ids"}, "dry_run"}`); p != nil {
		return req, p
	}
	f := req.Filter
	switch {
	case f.Topic == "" && f.Since.IsZero() && f.Until.IsZero() && len(f.IDs) == 0:
		return req, problem.New(problem.InvalidOption, "the filter chooses nothing; give a topic, since, until (RFC 3339) or ids")
	case len(f.IDs) > maxResendIDs:
		return req, problem.New(problem.InvalidOption, "there are %d ids; name at most %d at a time", len(f.IDs), maxResendIDs)
	case !f.Until.IsZero() && f.Until.Before(f.Since):
		return req, problem.New(problem.InvalidOption, "until is before since")
	}
	return req, nil
}
