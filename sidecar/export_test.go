package sidecar

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// FailStorage does what a failed sync does to the parts.
func (s *Sidecar) FailStorage() { s.parts.storage.once.Do(func() { close(s.parts.storage.failed) }) }

// Close closes what a failed sidecar leaves open: a process would exit.
func (s *Sidecar) Close(ctx context.Context) error { return s.steps().Run(ctx, s.log) }

var InEmptyDir = inEmptyDir

// Metrics are the names, labels and help texts of all that is registered.
func (s *Sidecar) Metrics() []*prometheus.Desc {
	all := make(chan *prometheus.Desc)
	go func() {
		defer close(all)
		s.registry.Describe(all)
	}()
	var out []*prometheus.Desc
	for d := range all {
		out = append(out, d)
	}
	return out
}
