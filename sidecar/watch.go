package sidecar

import "context"

// openWatchers starts the admin and health listeners.
func (s *Sidecar) openWatchers(context.Context) error { return nil }
