package httpapi

import "time"

// Status is what GET /v1/status tells beyond the listener's own options.
type Status struct {
	// Starting: the spool is not open yet.
	Starting bool
	// ReadOnly: a sync failed, the spool takes nothing more.
	ReadOnly bool
	// Stalled: the disk does not answer, the spool takes nothing until it does.
	Stalled bool
	// Degraded names what is wrong while accepts go on, in words of the glossary.
	Degraded []string
	// IdempotencyWindow is how long a key is known at least, now.
	IdempotencyWindow time.Duration
}

type statusJSON struct {
	State             string       `json:"state"`
	Version           string       `json:"version"`
	BrokerType        string       `json:"broker_type"`
	Survives          string       `json:"survives"`
	Degraded          []string     `json:"degraded"`
	IdempotencyWindow string       `json:"idempotency_window"`
	Receipts          receiptsKept `json:"receipts"`
	Limits            limitsJSON   `json:"limits"`
}

// receiptsKept says how long receipts are kept, and at most how many.
type receiptsKept struct {
	Keep string `json:"keep"`
	Max  int    `json:"max"`
}

type limitsJSON struct {
	MaxMessageBytes  int    `json:"max_message_bytes"`
	MaxBatchMessages int    `json:"max_batch_messages"`
	MaxBatchBytes    int    `json:"max_batch_bytes"`
	MaxHeaderBytes   int    `json:"max_header_bytes"`
	MaxWait          string `json:"max_wait"`
}

// status answers GET /v1/status.
func (s *Server) status(*request, string) (response, error) {
	now := s.opts.Status(s.work)
	keep, most := s.spool.Retention()
	answer := statusJSON{
		State: s.state(now), Version: s.opts.Version, BrokerType: s.opts.BrokerType, Survives: s.opts.Survives,
		Degraded: append([]string{}, now.Degraded...), IdempotencyWindow: now.IdempotencyWindow.String(),
		Receipts: receiptsKept{Keep: keep.String(), Max: most},
		Limits: limitsJSON{
			MaxMessageBytes: s.opts.MaxMessage, MaxBatchMessages: s.opts.MaxBatchMessages, MaxBatchBytes: s.opts.MaxBatchBytes,
			MaxHeaderBytes: s.opts.MaxHeader, MaxWait: s.opts.MaxWait.String(),
		},
	}
	return s.jsonResponse(200, answer), nil
}

func (s *Server) state(now Status) string {
	switch {
	case s.draining.Load():
		return "draining"
	case now.ReadOnly:
		return "read_only"
	case now.Stalled:
		return "stalled"
	case now.Starting:
		return "starting"
	}
	return "accepting"
}
