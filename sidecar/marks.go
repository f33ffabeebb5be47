package sidecar

import (
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/deadletter/notes"
	"github.com/remora-mq/remora/dedupe/local"
)

// openMarks opens the dedupe store, the marks of paused subscriptions and the notes
// of dead letters, where handlers are called.
func (s *Sidecar) openMarks() error {
	if s.offline {
		return nil
	}
	o := s.markOptions()
	o.Journal = filepath.Join(s.cfg.Spool.Dir, "spool", "begun")
	marks, err := local.Open(s.parts.db, o)
	if err != nil {
		return err
	}
	s.parts.marks = marks
	if err := marks.Unjournaled(); err != nil {
		s.log.Warn("the journal of dedupe marks cannot be used: messages are begun in commits, slower, and attempts that a killed process had begun may not be counted", "component", "dedupe", "file", o.Journal, "error", err)
	}
	if s.subs.pauses, err = ackgate.OpenPauses(s.parts.db); err != nil {
		return err
	}
	if s.parts.notes, err = notes.Open(s.parts.db, s.secrets.keys, s.log.With("component", "deadletter")); err != nil {
		return err
	}
	s.parts.shared, err = openShared(s.cfg, s.secrets)
	return err
}

func (s *Sidecar) markOptions() local.Options {
	c, room := s.cfg.Dedupe, s.parts.room
	return local.Options{Window: longestWindow(s.cfg).Std(), Limit: room.cap.budget(c.Limit), Room: room.Spare, Keys: s.secrets.keys}
}

// longestWindow for which marks are kept with the spool.
func longestWindow(c config.Config) config.Duration {
	longest := c.Dedupe.Window
	for _, sub := range c.Subscriptions {
		if d := sub.WithDefaults(c.Dedupe.Window).Dedupe; d.Store == config.DedupeLocal {
			longest = max(longest, d.Window)
		}
	}
	return longest
}

// Marks are what the dedupe store knows of handled messages.
type Marks struct {
	local.Stats

	Window string `json:"window"` // in effect: every mark that is younger is known
}

// marks reads them from the disk where no store is open.
func (s *Sidecar) marks() (Marks, error) {
	var stats local.Stats
	var err error
	if s.parts.marks != nil {
		stats = s.parts.marks.Stats()
	} else {
		stats, err = local.StatsOf(s.parts.db, s.markOptions())
	}
	return Marks{Stats: stats, Window: stats.Window.Round(time.Second).String()}, err
}
