package sidecar

import (
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/spool"
)

// Status is the answer of GET /v1/status of the admin listener.
type Status struct {
	Version  string   `json:"version"`
	Ready    bool     `json:"ready"`
	Unready  []string `json:"unready"`  // what keeps it from being ready
	Degraded []string `json:"degraded"` // what is wrong while accepts go on

	Conditions []admin.ConditionStatus `json:"conditions"` // that are the case: those two, since when

	Broker   string       `json:"broker_type"`
	Survives string       `json:"survives,omitempty"`
	Spool    *SpoolStatus `json:"spool"` // null while it is not open

	Forwarder *ForwarderStatus `json:"forwarder"` // null while nothing is forwarded
	Brokers   *BrokersStatus   `json:"brokers"`   // null while nothing is forwarded
	Dedupe    []DedupeStatus   `json:"dedupe"`    // the stores of dedupe marks

	Subscriptions []Subscription `json:"subscriptions"` // in the order of the configuration

	Blocked []ackgate.Blocked `json:"blocked_keys"` // of ordered subscriptions: what they wait for, the oldest first
}

// SpoolStatus is what is held, and how far from full that is.
type SpoolStatus struct {
	ID                string        `json:"id"`
	Dir               string        `json:"dir"`
	Messages          spool.InSpool `json:"messages"`
	OnHold            uint64        `json:"held"`      // of those pending, by an operator
	KeptBack          uint64        `json:"kept_back"` // those, what can only wait for them or for dead letters, and what is paused
	Resending         uint64        `json:"resending"` // confirmed ones that are to be sent again
	Transactions      Transactions  `json:"transactions"`
	Bytes             uint64        `json:"bytes"`       // of what is held
	RoomBytes         uint64        `json:"room_bytes"`  // that this may take
	TakenBytes        uint64        `json:"taken_bytes"` // blocks of the directory, ballast included
	BallastBytes      uint64        `json:"ballast_bytes"`
	LimitBytes        uint64        `json:"limit_bytes"` // of those blocks: spool.limit, or what the volume leaves
	OldestUnconfirmed *time.Time    `json:"oldest_unconfirmed_at,omitempty"`
	DrainSeconds      *float64      `json:"drain_seconds,omitempty"` // until what waits for the broker has left; nil: nothing leaves
	Encryption        *Encryption   `json:"encryption,omitempty"`    // of a spool with a key file
	Retention         *Retention    `json:"retention,omitempty"`     // of a sidecar that runs
	ClockStep         *ClockStep    `json:"clock_step,omitempty"`    // nil: there is none
}

// Transactions counts those that are not decided, and not at their end.
type Transactions struct {
	Half      int `json:"half"`
	Undecided int `json:"undecided"` // they wait for an operator
	Ending    int `json:"ending"`    // decided, and their broker has not confirmed that yet
}

func transactionsOf(sp *spool.Spool) Transactions {
	n := sp.TransactionCounts()
	return Transactions{Half: n.Half, Undecided: n.Undecided, Ending: n.Ending}
}

// Encryption names the key under which is written, and what else lay in the
// spool, and of local dedupe's marks, when it was opened: keys that may not be taken out of the key file yet.
type Encryption struct {
	Key   string         `json:"key"`
	Older map[string]int `json:"older"` // entries by key
	Plain int            `json:"plain"` // entries from before there was a key
}

func (s *Sidecar) encryptionOf(sp *spool.Spool) *Encryption {
	keys := s.secrets.keys
	if keys == nil {
		return nil
	}
	out := &Encryption{Key: keys.Current().String(), Older: map[string]int{}}
	for id, n := range sp.OlderKeys() {
		if id == (keyring.ID{}) {
			out.Plain = n
		} else {
			out.Older[id.String()] = n
		}
	}
	if s.parts.marks != nil {
		for id, n := range s.parts.marks.OlderKeys() {
			out.Older[id.String()] += n
		}
	}
	return out
}

func (s *Sidecar) status() any {
	out := Status{
		Version: s.version, Unready: []string{}, Degraded: s.conditions.Degraded(), Broker: s.cfg.Broker.Type,
		Conditions: s.conditions.Active(), Dedupe: s.dedupeStatus(),
		Subscriptions: s.subs.tell(), Blocked: s.blocked(),
	}
	out.Forwarder, out.Brokers = s.tellForwarding()
	for _, c := range s.conditions.Unready() {
		out.Unready = append(out.Unready, string(c))
	}
	out.Ready = len(out.Unready) == 0
	if sp := s.spool.Load(); sp != nil { // set after the volume is known
		out.Survives, out.Spool = s.parts.volume.Survives, s.spoolStatus(sp)
	}
	return out
}

func (s *Sidecar) spoolStatus(sp *spool.Spool) *SpoolStatus {
	total := sp.Total()
	out := &SpoolStatus{
		ID: sp.ID().String(), Dir: s.cfg.Spool.Dir, Messages: total.InSpool, OnHold: total.OnHold, KeptBack: sp.KeptBack(), Resending: total.Resending, Transactions: transactionsOf(sp),
		Bytes: total.Bytes, RoomBytes: uint64(s.parts.room.cap.Messages), TakenBytes: uint64(s.parts.room.taken()), BallastBytes: uint64(s.parts.room.ballastHeld()), LimitBytes: uint64(s.parts.room.cap.Limit),
		Encryption: s.encryptionOf(sp), Retention: s.retained(), ClockStep: clockStepOf(sp),
	}
	if at, ok := sp.Oldest(); ok {
		out.OldestUnconfirmed = new(at.UTC())
	}
	if left, known := s.drain.untilDrained(total.InSpool, out.KeptBack); known {
		out.DrainSeconds = new(left.Seconds())
	}
	return out
}

// sources are what the admin listener tells, and works on.
func (s *Sidecar) sources() admin.Sources {
	from := admin.Sources{Ledger: s.ledger, Status: s.status, Stats: s.stats, Spool: s.operated, Archive: s.archive, Acknowledge: s.acknowledge, ConfirmClock: s.confirmClock, Forwards: !s.offline,
		Groups: s.buriedGroups, Seen: s.seenBy, Consumed: s.consumed(), Topics: s.topics()}
	if !s.offline {
		from.Subscriptions, from.Left, from.Conditions = s.admitted(), s.left, s.conditions
	}
	return from
}

// archive is the spool as it is exported and imported.
func (s *Sidecar) archive() admin.Archive {
	if sp := s.spool.Load(); sp != nil {
		return sp
	}
	return nil
}

// operated is the spool as the admin listener works on it.
func (s *Sidecar) operated() admin.Spool {
	if sp := s.spool.Load(); sp != nil {
		return sp
	}
	return nil
}
