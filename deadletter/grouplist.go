package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrCursor reports a cursor that no page of a group has given.
	ErrCursor = errors.New("the cursor is none of a page of dead letters of a group")
	// ErrNoLetter reports that no dead letter of that ID waits.
	ErrNoLetter = errors.New("no dead letter of that ID waits in the group")
)

// cursor is where a page begins.
type cursor struct {
	queue  string
	offset int64
}

func (c cursor) String() string { return c.queue + "@" + strconv.FormatInt(c.offset, 10) }

func parseCursor(text string) (c cursor, err error) {
	if text == "" {
		return c, nil
	}
	at := strings.LastIndexByte(text, '@')
	if at < 1 {
		return c, ErrCursor
	}
	c.queue = text[:at]
	if c.offset, err = strconv.ParseInt(text[at+1:], 10, 64); err != nil || c.offset < 0 {
		return c, ErrCursor
	}
	return c, nil
}

// GroupPage is a part of a list.
type GroupPage struct {
	Items []Letter
	Next  string // cursor of the next one; "": there is none
}

// pageBytes ends a page, after the message that reaches it.
const pageBytes = 8 << 20

// List returns those that wait and fit, limit at a time or less where they are
// large, the oldest of a queue first.
func (g *Group) List(ctx context.Context, f GroupFilter, after string, limit int) (page GroupPage, err error) {
	from, err := parseCursor(after)
	if err != nil {
		return page, err
	}
	bytes := 0
	err = g.each(ctx, &f, from, func(l *Letter) (bool, error) {
		if len(page.Items) == limit || bytes >= pageBytes {
			page.Next = cursor{l.Queue, l.Offset}.String()
			return false, nil
		}
		bytes += l.Size()
		page.Items = append(page.Items, *l)
		return true, nil
	})
	return page, err
}

// Find returns the first dead letter of an ID that waits, or ErrNoLetter.
func (g *Group) Find(ctx context.Context, id string) (found Letter, err error) {
	err = g.each(ctx, &GroupFilter{IDs: []string{id}}, cursor{}, func(l *Letter) (bool, error) {
		found = *l
		return false, nil
	})
	if err == nil && found.Identity == "" {
		err = ErrNoLetter
	}
	return found, err
}

// Count counts those that wait and fit, and changes nothing.
func (g *Group) Count(ctx context.Context, f GroupFilter) (c Count, err error) {
	err = g.each(ctx, &f, cursor{}, func(l *Letter) (bool, error) {
		c.addLetter(l)
		return true, nil
	})
	if err != nil {
		return c, fmt.Errorf("count dead letters: %w", err)
	}
	return c, nil
}

func (c *Count) addLetter(l *Letter) {
	c.Messages++
	c.Bytes += int64(l.Size())
	if l.OrderingKey != "" {
		c.Ordered++
	}
	if l.Damage != "" {
		c.Unreadable++
	}
}

// GroupCause is the dead letters of a group that share a cause.
type GroupCause struct {
	Count

	Cause   string
	Topics  []string // of them, at most maxTopics, sorted
	More    int      // topics that are not named
	Oldest  time.Time
	Newest  time.Time // deaths
	Example string    // identity of the newest
}

// Causes groups those that wait and fit, the largest group first.
func (g *Group) Causes(ctx context.Context, f GroupFilter) (all []GroupCause, err error) {
	groups, topics := map[string]*GroupCause{}, map[string]map[string]bool{}
	err = g.each(ctx, &f, cursor{}, func(l *Letter) (bool, error) {
		cause := l.Cause
		if groups[cause] == nil && len(groups) >= maxCauses {
			cause = others
		}
		if groups[cause] == nil {
			groups[cause], topics[cause] = &GroupCause{Cause: cause, Oldest: l.DiedAt}, map[string]bool{}
		}
		groups[cause].take(l)
		topics[cause][l.Topic] = true
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("group dead letters: %w", err)
	}
	for cause, c := range groups {
		for topic := range topics[cause] {
			c.Topics = append(c.Topics, topic)
		}
		slices.Sort(c.Topics)
		if n := len(c.Topics); n > maxTopics {
			c.Topics, c.More = c.Topics[:maxTopics], n-maxTopics
		}
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b GroupCause) int {
		return cmp.Or(cmp.Compare(b.Messages, a.Messages), cmp.Compare(a.Cause, b.Cause))
	})
	return all, nil
}

func (c *GroupCause) take(l *Letter) {
	c.addLetter(l)
	if l.DiedAt.Before(c.Oldest) {
		c.Oldest = l.DiedAt
	}
	if !l.DiedAt.Before(c.Newest) {
		c.Newest, c.Example = l.DiedAt, l.Identity
	}
}
