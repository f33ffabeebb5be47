package sidecar

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/remora-mq/remora/broker/rocketmq"
	"github.com/remora-mq/remora/config"
)

// Retention says whether what the broker confirms is kept for a resend, and why.
type Retention struct {
	Setting string `json:"setting"` // spool.retain
	Keeps   bool   `json:"keeps"`
	For     string `json:"for,omitempty"` // how long, with its unit; of what is kept
	Why     string `json:"why"`
}

// retention decides for spool.retain: auto with RocketMQ. Until the brokers have
// said that SEND_OK is durable, and when they cannot be asked, what they confirm
// is kept. A broker that is gone counts as it was when it was last seen: it may be
// back, and confirm, before it is seen again.
type retention struct {
	keep func(bool)
	log  *slog.Logger
	dur  config.Duration

	whyNot map[string]string // by broker; "": its SEND_OK is durable
	told   atomic.Pointer[Retention]
}

const notAsked = "the brokers have not been asked yet how they flush"

func newRetention(keep func(bool), d config.Duration, log *slog.Logger) *retention {
	r := &retention{keep: keep, log: log, dur: d, whyNot: map[string]string{}}
	r.told.Store(&Retention{Setting: config.RetainAuto, Keeps: true, For: d.String(), Why: notAsked})
	return r
}

// hear takes what the brokers say, or why they cannot be asked (brokerWatch).
func (r *retention) hear(all []rocketmq.BrokerConfig, err error) {
	for _, b := range all {
		_, r.whyNot[b.Name] = b.Durable()
	}
	r.decide(r.reason(err))
}

// reason is why what is confirmed is kept; "": it need not be.
func (r *retention) reason(err error) string {
	if err != nil {
		return "the brokers cannot be asked how they flush: " + err.Error()
	}
	for _, name := range slices.Sorted(maps.Keys(r.whyNot)) {
		if why := r.whyNot[name]; why != "" {
			return why
		}
	}
	if len(r.whyNot) == 0 {
		return "the name servers know no broker that is a master"
	}
	return ""
}

func (r *retention) decide(why string) {
	now := &Retention{Setting: config.RetainAuto, Keeps: why != "", Why: why}
	if now.Keeps {
		now.For = r.dur.String()
	} else {
		names := strings.Join(slices.Sorted(maps.Keys(r.whyNot)), ", ")
		now.Why = fmt.Sprintf("SEND_OK of %s means on its disk and at a slave", names)
	}
	r.keep(now.Keeps)
	if was := r.told.Swap(now); was.Keeps != now.Keeps || was.Why != now.Why {
		r.log.Info("deciding whether confirmed messages are kept for a resend", "retain", now.Setting, "keeps", now.Keeps, "for", now.For, "why", now.Why)
	}
}

// decideRetention has it decided by what w tells what spool.retain: auto means with
// RocketMQ; all else is decided by the configuration.
func (s *Sidecar) decideRetention(w *brokerWatch) error {
	if s.cfg.Spool.Retain != config.RetainAuto || s.cfg.Broker.Type != config.BrokerRocketMQ {
		return nil
	}
	d, err := s.cfg.Spool.RetainFor(false)
	if err != nil {
		return fmt.Errorf("spool.retain: %w", err)
	}
	r := newRetention(s.parts.spool.KeepConfirmed, d, s.log.With("component", "retention"))
	s.retention.Store(r)
	w.tell = append(w.tell, r.hear)
	return nil
}

// retained is what /v1/status tells; nil: a tool decides nothing.
func (s *Sidecar) retained() *Retention {
	if s.offline {
		return nil
	}
	if r := s.retention.Load(); r != nil {
		return r.told.Load()
	}
	d, _ := s.cfg.Spool.RetainFor(s.cfg.Broker.Type == config.BrokerEmbedded) // validated
	out := &Retention{Setting: s.cfg.Spool.Retain, Keeps: d > 0, Why: "spool.retain says so"}
	if out.Keeps {
		out.For = d.String()
	}
	switch {
	case out.Setting == config.RetainAuto && out.Keeps:
		out.Why = notAsked
	case out.Setting == config.RetainAuto:
		out.Why = "the embedded broker confirms what is on its disk"
	}
	return out
}
