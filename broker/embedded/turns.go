package embedded

// turns are the places of an ordered subscription's messages of one queue: those in
// the hands of consumers, and those that wait in line. Only the head of an ordering
// key is delivered; messages without a key are one more. Broker.mu is held.
type turns struct {
	reading bool               // by a consumer that took an offset and does not know its key yet
	lines   map[string][]int64 // offsets by key, the head first
	keys    map[int64]string
}

func newTurns() *turns { return &turns{lines: map[string][]int64{}, keys: map[int64]string{}} }

// lineUp gives the offset that was read its place, unless it has one, and reports
// whether it is its turn.
func (t *turns) lineUp(offset int64, key string) bool {
	t.reading = false
	if _, known := t.keys[offset]; !known {
		t.keys[offset] = key
		t.lines[key] = append(t.lines[key], offset)
	}
	return t.lines[key][0] == offset
}

// pass ends the turn of an offset, and returns whose is next.
func (t *turns) pass(offset int64) (next int64, ok bool) {
	key, known := t.keys[offset]
	if !known {
		return 0, false // nobody wanted it
	}
	delete(t.keys, offset)
	line := t.lines[key][1:]
	if len(line) == 0 {
		delete(t.lines, key)
		return 0, false
	}
	t.lines[key] = line
	return line[0], true
}

// isTurn reports whether the offset, of that key, is to be delivered now. One that
// is not is taken again when its turn comes. Of an unordered subscription all are.
func (b *Broker) isTurn(g *group, l *lane, offset int64, key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.turns == nil {
		return true
	}
	defer g.notify() // the next one may be read
	return l.turns.lineUp(offset, key)
}

// notRead lets the next offset of the lane be read where this one has no turn.
func (b *Broker) notRead(g *group, l *lane) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l.turns != nil {
		l.turns.reading = false
		g.notify()
	}
}
