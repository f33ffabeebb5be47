package spool

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// Damage is what one opening found that cannot be read, and what that costs.
// It is kept with the spool, also after it was acknowledged.
type Damage struct {
	At           time.Time  `json:"at"`
	Found        []string   `json:"found"`                     // at most maxFound are named
	Quarantine   []string   `json:"quarantine"`                // files and directories with the bytes as they were
	Lost         uint64     `json:"lost"`                      // messages
	Sequences    []Lost     `json:"sequences"`                 // which: every one of them, unless Among
	Among        bool       `json:"among,omitempty"`           // of Sequences only some are lost: it is not known which
	Unattributed uint64     `json:"unattributed,omitempty"`    // settled; their topic, or how, is not known any more
	Acknowledged *time.Time `json:"acknowledged_at,omitempty"` // by an operator
	Database     string     `json:"database,omitempty"`        // kv.Damage.At of the salvage before

	// NotResent are confirmed messages that were ordered to be sent again and
	// cannot be read any more. None of them is lost twice: the ledger is not changed.
	NotResent []Lost `json:"not_sent_again,omitempty"`

	LostTopicUnknown uint64 `json:"lost_topic_unknown,omitempty"` // of Lost
}

// Lost is a run of sequences, both ends included.
type Lost struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Topic string `json:"topic,omitempty"` // "": not known
}

func (l Lost) String() string {
	text := fmt.Sprintf("%d to %d", l.First, l.Last)
	if l.Topic != "" {
		text += " of topic " + l.Topic
	}
	return text
}

// cost says in words what was lost.
func (d *Damage) cost() string {
	if len(d.NotResent) > 0 {
		return "messages that were to be sent again could not be read"
	}
	if d.Lost == 1 {
		return "1 message was lost"
	}
	return fmt.Sprintf("%d messages were lost", d.Lost)
}

// maxFound bounds how many findings are named.
const maxFound = 200

// damageReports are the entries sl, oldest first. doubted says that the next
// opening compares everything (the entry sl without a number).
type damageReports struct {
	all     []*Damage
	doubted bool
	seen    []string // found while the spool is open, and not counted yet
}

func damageKey(n int) []byte { return key64(damagePrefix, uint64(n)) }

func (d *Damage) encode() []byte {
	b, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("spool: a report of damage as JSON: %v", err)) // it holds plain values only
	}
	return seal(b)
}

func decodeDamage(v []byte) (*Damage, error) {
	b, err := unseal(v)
	d := new(Damage)
	if err == nil {
		err = json.Unmarshal(b, d)
	}
	return d, err
}

// unattributed sums what the reports say of messages that no topic counts.
func (r *damageReports) unattributed() (lost, settled uint64) {
	for _, d := range r.all {
		lost += d.LostTopicUnknown
		settled += d.Unattributed
	}
	return lost, settled
}

// DamageState is what is known of damage now.
type DamageState struct {
	Reports []Damage `json:"reports"` // of all openings
	Seen    []string `json:"seen"`    // since this one; the next start salvages, and counts what it cost
}

// Pending reports whether an operator has something to look at.
func (d DamageState) Pending() bool {
	return len(d.Seen) > 0 || slices.ContainsFunc(d.Reports, func(r Damage) bool { return r.Acknowledged == nil })
}

// Damage returns what was found damaged.
func (s *Spool) Damage() DamageState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := DamageState{Reports: []Damage{}, Seen: append([]string{}, s.damage.seen...)}
	for _, d := range s.damage.all {
		state.Reports = append(state.Reports, *d)
	}
	return state
}

// AcknowledgeDamage notes, durably, that an operator knows of all reports that
// there are: from then on the ledger may balance again. It returns those that
// were not acknowledged before. What was seen since the opening is not counted
// yet and stays.
func (s *Spool) AcknowledgeDamage(ctx context.Context) ([]Damage, error) {
	var known []Damage
	for more := true; more; {
		op := &acknowledge{room: s.sizes.op}
		if err := s.commit(ctx, op); err != nil {
			return known, fmt.Errorf("acknowledge damage: %w", err)
		}
		known, more = append(known, op.known...), op.more
	}
	return known, s.db.AcknowledgeDamage()
}

// acknowledge writes as many reports as there is room for, in bytes. One that an
// earlier build wrote may be cut, so that at least one has it.
type acknowledge struct {
	room  int
	known []Damage
	more  bool
}

func (a *acknowledge) size() int { return fixedSize + a.room }

func (a *acknowledge) apply(c *commit) {
	room := a.room
	for n, d := range c.s.damage.all {
		if d.Acknowledged != nil {
			continue
		}
		known := *d
		at := c.now // which the next commit overwrites
		known.Acknowledged = &at
		v := known.fit(a.room - deleteSize)
		if room -= len(v) + deleteSize; room < 0 {
			a.more = true
			return
		}
		*d = known
		c.sets = append(c.sets, pair{damageKey(n + 1), v})
		a.known = append(a.known, known)
	}
}

func (*acknowledge) synced(*Spool) {}

// notice keeps what was found damaged while the spool is open, and has the next
// opening compare everything. It may be called often with the same.
func (s *Spool) notice(what string) {
	s.mu.Lock()
	known := slices.Contains(s.damage.seen, what) || len(s.damage.seen) >= maxFound
	if !known {
		s.damage.seen = append(s.damage.seen, what)
	}
	first := !s.damage.doubted
	s.damage.doubted = true
	s.mu.Unlock()
	if !known {
		s.opts.Logger.Error("damaged: kept as it is and not forwarded; the next start counts what is lost", "what", what)
	}
	if first {
		s.post(&doubt{})
	}
}

// mustSee passes on the error of a read for what is to be sent, or falls due, or is
// decided. What damage hides from that must not be passed: what comes behind it, also of
// its ordering key, would go before it. Nor can it be waited for, because it takes an
// opening to salvage it. So the database is fenced, as by a compaction that meets damage:
// the process ends, and starts again.
func (s *Spool) mustSee(err error) error {
	if !errors.Is(err, kv.ErrDamaged) || !s.db.Condemn(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrReadOnly, err)
}

// surely is mustSee for the read of one entry: that there is none, kv.ErrNotFound, it
// passes on where no damage hides it. where leads to the entry, or to its neighbour.
func (s *Spool) surely(err error, where kv.Scan) error {
	if errors.Is(err, kv.ErrNotFound) {
		where.KeysOnly, where.Whole = true, true
		err = cmp.Or(s.db.Scan(where, func(_, _ []byte) (bool, error) { return false, nil }), err)
	}
	return s.mustSee(err)
}

// doubt is the wish that the next opening compares everything.
type doubt struct{}

func (*doubt) size() int       { return fixedSize }
func (*doubt) apply(c *commit) { c.sets = append(c.sets, pair{damagePrefix, seal(nil)}) }
func (*doubt) synced(*Spool)   {}

func (s *Spool) loadDamage() error {
	return s.scanAll(damagePrefix, func(k, v []byte) error {
		if len(k) == len(damagePrefix) {
			s.damage.doubted = true
			return nil
		}
		if len(k) != len(damagePrefix)+8 {
			return errDamaged
		}
		n := binary.BigEndian.Uint64(k[len(damagePrefix):])
		if known := uint64(len(s.damage.all)); n <= known || n > known+mostUnread {
			return errDamaged
		}
		d, err := decodeDamage(v)
		if err != nil {
			return err
		}
		for uint64(len(s.damage.all)) < n-1 {
			s.damage.all = append(s.damage.all, &Damage{}) // the report before cannot be read
		}
		s.damage.all = append(s.damage.all, d)
		return nil
	})
}

// mostUnread reports in a row are made up for: a number beyond is none that was given.
const mostUnread = 1000
