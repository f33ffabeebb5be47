package main

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/remora-mq/remora/admin"
)

// lookAtConditions tells what a running sidecar says of itself, since when, and what to
// do about it. The health listener asks for no token.
func lookAtConditions(ctx context.Context, f *findings, health *client) {
	const section = "conditions"
	r, err := health.do(ctx, http.MethodGet, "/readyz?verbose", nil, nil)
	var said struct {
		Conditions []admin.ConditionStatus `json:"conditions"`
	}
	if err != nil || json.Unmarshal(r.body, &said) != nil || said.Conditions == nil {
		f.warnf(section, "are both of the same version?", "the sidecar does not tell its conditions")
		return
	}
	found := false
	for _, s := range said.Conditions {
		if !s.Is || s.Since == nil {
			continue
		}
		found = true
		tell := f.warnf
		if s.StopsAccept {
			tell = f.badf
		}
		means := s.Means
		if s.Detail != "" {
			means += " (" + printable(s.Detail) + ")"
		}
		tell(section, s.Do, "%s for %s, since %s: %s", s.Name, age(*s.Since), instant(*s.Since), means)
	}
	if !found {
		f.okf(section, "the sidecar is ready, and nothing is wrong with it")
	}
}
