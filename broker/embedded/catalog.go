package embedded

// catalog is what the broker knows without reading an entry. It is guarded by
// Broker.mu, and changed for good only inside a commit, which saves what it
// touched.
//
// Invariants of a queue: first ≤ every group's low ≤ visible ≤ next; next moves
// when an entry is written, visible when it is durable.
type catalog struct {
	position  uint64 // last one given out
	delaySeq  uint64
	topics    map[string]*topic
	groups    map[string]*group
	schedule  schedule
	unflushed map[*track]struct{} // progress made since it was last saved

	// Of the commit at work: saved with it, published after its sync.
	touched   map[*topic]struct{}
	scheduled []delayed
	positions bool // position changed
}

type topic struct {
	name    string
	queues  []*queue
	repeats int64 // copies stored although one of the same ID was there
	bytes   int64 // kept
	turn    int   // of the round robin
}

type queue struct {
	first   int64 // offset of the oldest entry kept
	next    int64 // offset of the next entry
	visible int64 // entries below are durable and may be delivered
}

func newCatalog() catalog {
	return catalog{
		topics: map[string]*topic{}, groups: map[string]*group{},
		unflushed: map[*track]struct{}{}, touched: map[*topic]struct{}{},
	}
}

// obtain returns the topic and makes it if need be.
func (c *catalog) obtain(name string, queues int) *topic {
	t := c.topics[name]
	if t == nil {
		t = &topic{name: name, queues: make([]*queue, queues)}
		for i := range t.queues {
			t.queues[i] = &queue{}
		}
		c.topics[name] = t
		c.adopt(t)
	}
	c.touched[t] = struct{}{}
	return t
}

// adopt gives the groups that wait for the topic their lanes in it.
func (c *catalog) adopt(t *topic) {
	for _, g := range c.groups {
		if tr := g.tracks[t.name]; tr != nil {
			tr.extend(t)
		}
	}
}

// group returns the group and makes it, in memory only, if need be.
func (c *catalog) group(name string) *group {
	g := c.groups[name]
	if g == nil {
		g = &group{name: name, tracks: map[string]*track{}, wake: make(chan struct{})}
		c.groups[name] = g
	}
	return g
}

// pick returns the queue for a message: by its ordering key, else in turn.
func (b *Broker) pick(name, key string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, queues := b.catalog.topics[name], b.opts.Queues
	if t != nil {
		queues = len(t.queues)
	}
	switch {
	case key != "":
		return int(hash(key) % uint32(queues))
	case t == nil:
		return 0
	}
	t.turn = (t.turn + 1) % queues
	return t.turn
}

// hash is FNV-1a: the queue of a key must not change with a restart.
func hash(key string) uint32 {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return h
}

func (t *topic) stored() (n int64) {
	for _, q := range t.queues {
		n += q.visible
	}
	return n
}

func (t *topic) kept() (n int64) {
	for _, q := range t.queues {
		n += q.visible - q.first
	}
	return n
}
