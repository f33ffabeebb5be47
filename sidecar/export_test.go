package sidecar

import "context"

// FailStorage does what a failed sync does to the parts.
func (s *Sidecar) FailStorage() { s.parts.storage.once.Do(func() { close(s.parts.storage.failed) }) }

// Close closes what a failed sidecar leaves open: a process would exit.
func (s *Sidecar) Close(ctx context.Context) error { return s.steps().Run(ctx, s.log) }

var InEmptyDir = inEmptyDir
