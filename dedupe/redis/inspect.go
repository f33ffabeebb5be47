package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/remora-mq/remora/dedupe"
)

// Inspect asks the server how it is set, and says what that means for marks:
// nothing, when it keeps every one that it has answered for. An error says that
// the server is not there, or lets nobody in.
func (s *Store) Inspect(ctx context.Context) (weak []dedupe.Weakness, err error) {
	var set settings
	err = s.calls.Ask(ctx, s.o.Timeout, func(ctx context.Context) error {
		if err := s.client.Ping(ctx).Err(); err != nil {
			return err
		}
		set = s.settings(ctx)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("inspect dedupe store: %w", err)
	}
	return set.assess(), nil
}

// settings are those that marks depend on; "": not known.
type settings struct {
	appendOnly, appendSync, eviction string
}

// settings reads them where the server lets us: managed ones and users with few
// rights have no CONFIG.
func (s *Store) settings(ctx context.Context) (set settings) {
	for name, to := range map[string]*string{"appendonly": &set.appendOnly, "appendfsync": &set.appendSync, "maxmemory-policy": &set.eviction} {
		found, err := s.client.ConfigGet(ctx, name).Result()
		if err == nil {
			*to = found[name]
		}
	}
	if set.appendOnly != "" && set.eviction != "" {
		return set
	}
	info, err := s.client.Info(ctx).Result()
	if err != nil {
		return set
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "aof_enabled":
			set.appendOnly = map[string]string{"0": "no", "1": "yes"}[value]
		case "maxmemory_policy":
			set.eviction = value
		}
	}
	return set
}

func (set settings) assess() (weak []dedupe.Weakness) {
	say := func(hint, format string, args ...any) {
		weak = append(weak, dedupe.Weakness{Text: fmt.Sprintf(format, args...), Hint: hint})
	}
	switch {
	case set.appendOnly == "":
		say("let our user run CONFIG GET or INFO, or ask who runs it", "Redis does not say whether its marks survive a restart")
	case set.appendOnly != "yes":
		say("set appendonly yes and appendfsync always", "Redis has no append-only file: a restart forgets marks, and their messages may be handled again")
	case set.appendSync == "":
		say("let our user run CONFIG GET, or ask who runs it", "Redis does not say its appendfsync: unless it is always, a power loss may forget the last second of marks")
	case set.appendSync != "always":
		say("set appendfsync always", "Redis has appendfsync %s: a power loss forgets the last marks, and their messages may be handled again", set.appendSync)
	}
	switch set.eviction {
	case "noeviction":
	case "":
		say("let our user run CONFIG GET or INFO, or ask who runs it", "Redis does not say its maxmemory-policy: unless it is noeviction, marks may be forgotten within the window")
	default:
		say("set maxmemory-policy noeviction, and give marks a Redis of their own", "Redis has maxmemory-policy %s: short of memory it forgets marks within the window", set.eviction)
	}
	return weak
}
