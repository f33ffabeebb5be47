package sidecar

import (
	"context"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/seen"
)

// seenLimit is how many bytes the notes of handled messages take at most, where the
// volume has room for that.
const seenLimit = 16 * config.MiB

// openSeen opens the notes of handled messages, also for a tool.
func (s *Sidecar) openSeen() error {
	room := s.parts.room
	notes, err := seen.Open(s.parts.db, seen.Options{
		Limit: room.cap.budget(seenLimit), Room: room.Spare, Keys: s.secrets.keys, Logger: s.log.With("component", "seen"),
	})
	if err != nil {
		return err
	}
	s.parts.seen = notes
	s.seen.Store(notes)
	return nil
}

// notes of a subscription. With marks in a store of several sidecars, or none, a
// crash may forget the last ones.
func (s *Sidecar) notes(ctx context.Context, c config.Subscription) (*seen.Stream, error) {
	return s.parts.seen.Stream(ctx, c.Group, c.Topic, c.Dedupe.Store != config.DedupeLocal)
}

// seenBy is what the admin listener tells of.
func (s *Sidecar) seenBy() admin.Seen {
	if notes := s.seen.Load(); notes != nil {
		return notes
	}
	return nil
}

// consumed are the subscriptions that are configured.
func (s *Sidecar) consumed() (all []admin.Consumed) {
	for _, c := range s.cfg.Subscriptions {
		c = c.WithDefaults(s.cfg.Dedupe.Window)
		all = append(all, admin.Consumed{
			Name: c.Name, Group: c.Group, Topic: c.Topic, Filtered: len(c.Filter.Tags) > 0 || c.Filter.SQL != "", From: c.From,
		})
	}
	return all
}
