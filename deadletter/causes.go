package deadletter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Cause is the dead letters that share one: the word of the broker's refusal.
type Cause struct {
	Count

	Cause   string     // spool.Item.Reason
	Topics  []string   // of them, at most maxTopics, sorted
	More    int        // topics that are not named
	Oldest  time.Time  // accept of the oldest
	Error   string     // the last error of the one that was accepted last
	Example message.ID // that one
	newest  time.Time
}

const (
	maxTopics = 10
	// maxCauses bounds the groups. There are as many as the broker has words, but
	// an import may bring others.
	maxCauses = 1000
	// others is the cause of what is beyond that.
	others = "(others)"
)

// Causes groups what a filter chooses, the largest group first. unreadable
// counts dead letters that are damaged.
func Causes(ctx context.Context, s Spool, f Filter) (all []Cause, unreadable int, err error) {
	groups := map[string]*group{}
	unreadable, err = f.each(ctx, s, func(some []spool.Item) error {
		for i := range some {
			groupOf(groups, some[i].Reason).add(&some[i])
		}
		return nil
	})
	if err != nil {
		return nil, unreadable, fmt.Errorf("group dead letters: %w", err)
	}
	for _, g := range groups {
		all = append(all, g.cause())
	}
	slices.SortFunc(all, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Cause, b.Cause))
	})
	return all, unreadable, nil
}

type group struct {
	Cause

	topics map[string]bool
}

func groupOf(groups map[string]*group, cause string) *group {
	if groups[cause] == nil && len(groups) >= maxCauses {
		cause = others
	}
	if groups[cause] == nil {
		groups[cause] = &group{Cause: Cause{Cause: cause}, topics: map[string]bool{}}
	}
	return groups[cause]
}

func (g *group) add(i *spool.Item) {
	g.Count.add(i)
	g.topics[i.Topic] = true
	if g.Oldest.IsZero() || i.AcceptedAt.Before(g.Oldest) {
		g.Oldest = i.AcceptedAt
	}
	if !i.AcceptedAt.Before(g.newest) {
		g.newest, g.Error, g.Example = i.AcceptedAt, i.LastError, i.ID
	}
}

func (g *group) cause() Cause {
	for topic := range g.topics {
		g.Topics = append(g.Topics, topic)
	}
	slices.Sort(g.Topics)
	if n := len(g.Topics); n > maxTopics {
		g.Topics, g.More = g.Topics[:maxTopics], n-maxTopics
	}
	return g.Cause
}
