package spool

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
)

// layout is how the ordering keys of a topic are spread over its queues, for the
// messages behind a sequence: a change of the queues makes another one, and what
// became pending before keeps its own.
type layout struct {
	above  uint64   // it holds for the sequences above this one, until the next layout
	names  []string // the queues as they were told
	queues []string // where their keys go: the same, unless they were moved
}

func newLayout(above uint64, names []string) *layout {
	return &layout{above: above, names: slices.Clone(names), queues: slices.Clone(names)}
}

// queueOf spreads keys by FNV-1a, 64 bits: the same in every process and version.
func (y *layout) queueOf(key string) string {
	h := fnv.New64a()
	h.Write([]byte(key))
	return y.queues[h.Sum64()%uint64(len(y.queues))]
}

func (y *layout) moved() bool { return !slices.Equal(y.names, y.queues) }

// bindings are the layouts of a topic, oldest first, entry su. They stay until
// no message can be under them.
type bindings struct {
	layouts []*layout

	// chains are the keys of the window's messages, while there are several
	// layouts: a key keeps the one that it began under until it has no message.
	chains map[string]*chain

	renewed bool // in this process, the newest was told as it is
}

type chain struct {
	layout *layout
	n      int // messages of the key in windows
}

// maxLayouts bounds them: then the newest is replaced.
const maxLayouts = 8

// of returns the layout of a sequence.
func (b *bindings) of(seq uint64) *layout {
	for _, y := range slices.Backward(b.layouts) {
		if seq > y.above {
			return y
		}
	}
	return b.layouts[0]
}

// queueOf returns the queue that e is bound to, "" if it is to none.
func (b *bindings) queueOf(e *entry) string {
	key := e.msg.OrderingKey
	if key == "" || len(b.layouts) == 0 {
		return ""
	}
	if c := b.chains[key]; c != nil {
		return c.layout.queueOf(key)
	}
	return b.of(e.msg.Seq).queueOf(key)
}

// enter and leave tell of an entry of a window.
func (b *bindings) enter(e *entry) {
	key := e.msg.OrderingKey
	if b.chains == nil || key == "" {
		return
	}
	c := b.chains[key]
	if c == nil {
		c = &chain{layout: b.of(e.msg.Seq)}
		b.chains[key] = c
	}
	c.n++
}

// leave keeps the chain while more of its key may wait on disk (more).
func (b *bindings) leave(e *entry, more bool) {
	c := b.chains[e.msg.OrderingKey]
	if c == nil {
		return
	}
	if c.n--; c.n <= 0 && !more {
		delete(b.chains, e.msg.OrderingKey)
	}
}

// trim forgets the layouts that no sequence from cursor on is under; none: nothing
// of the topic waits.
func (b *bindings) trim(cursor uint64, none bool) {
	for len(b.layouts) > 1 && (none || b.layouts[1].above < cursor) {
		b.layouts = b.layouts[1:]
	}
	if none && len(b.layouts) == 1 {
		b.layouts[0].above = 0
	}
}

// move sends what goes to one queue to another, and reports whether there was any.
func (b *bindings) move(from, to string) (moved bool) {
	for _, y := range b.all() {
		for i, q := range y.queues {
			if q == from {
				y.queues[i], moved = to, true
			}
		}
	}
	return moved
}

// all are the layouts, with those that only chains hold any more.
func (b *bindings) all() []*layout {
	all := slices.Clone(b.layouts)
	for _, c := range b.chains {
		if !slices.Contains(all, c.layout) {
			all = append(all, c.layout)
		}
	}
	return all
}

func (b *bindings) encode() []byte {
	v := binary.AppendUvarint(nil, uint64(len(b.layouts)))
	for _, y := range b.layouts {
		v = binary.AppendUvarint(v, y.above)
		v = binary.AppendUvarint(v, uint64(len(y.names)))
		for i, name := range y.names {
			v = appendText(appendText(v, name), y.queues[i])
		}
	}
	return seal(v)
}

func decodeBindings(v []byte) (layouts []*layout, err error) {
	b, err := unseal(v)
	if err != nil {
		return nil, fmt.Errorf("read queues: %w", err)
	}
	f := fields{b: b}
	for range min(f.uint(), maxLayouts) {
		y := &layout{above: f.uint()}
		for range min(f.uint(), maxQueues) {
			y.names, y.queues = append(y.names, f.text()), append(y.queues, f.text())
			if f.failed {
				break
			}
		}
		f.failed = f.failed || len(y.names) == 0
		layouts = append(layouts, y)
	}
	return layouts, f.err("read queues")
}

// loadBindings reads the queues that keys are bound to. Those of a damaged entry
// are forgotten: the keys are spread over the queues that there are.
func (s *Spool) loadBindings() error {
	return s.scanAll(bindPrefix, func(k, v []byte) error {
		layouts, err := decodeBindings(v)
		l := s.byID[tail32(k, len(bindPrefix))]
		if err != nil || l == nil {
			return err
		}
		l.bound.layouts = layouts
		l.bound.trim(l.cursor, false)
		if len(l.bound.layouts) > 1 {
			l.bound.chains = map[string]*chain{}
		}
		return nil
	})
}
