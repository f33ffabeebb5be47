package spool

import "slices"

// importedKey is a key of a message that is not taken in with it: it is here
// already (seq), or was settled elsewhere.
type importedKey struct {
	settledKey

	seq   uint64 // 0: elsewhere
	reads *keyReads
}

// importedKeySize bounds what a key costs a commit: itself, and, where each has
// an hour of its own or is refused, an entry more.
const importedKeySize = keyBytes + 2*deleteSize + 2*valueOverhead

// sort tells the messages that are accepted. A message is not when another one
// was accepted under its idempotency key with the same content, or when the key is
// of this very message, which is settled and has no receipt any more. A key that
// is another's stays so, and the message comes without.
func (op *importMessages) sort(c *commit) {
	own := map[keyHash]*newMessage{}
	for _, n := range op.added {
		same, known := n.sameAs(c, own)
		switch {
		case same:
			op.repeats++
			c.dropChunks(n.payload)
			continue
		case known:
			op.conflicts++
			n.key = keyHash{}
		case n.key != keyHash{}:
			own[n.key] = n
		}
		op.accepted = append(op.accepted, n)
	}
}

// sameAs looks for n's key among those of this commit, of all before, and of the
// import itself (own). same: n is the message that has it; known: there is one.
func (n *newMessage) sameAs(c *commit, own map[keyHash]*newMessage) (same, known bool) {
	if n.key == (keyHash{}) {
		return false, false
	}
	if first := c.reserved[n.key]; first != nil {
		return first.fingerprint == n.fingerprint, true
	}
	if ref, ok := c.s.keys.get(n.key, n.reads); ok {
		return ref.id == n.msg.ID || ref.fingerprint == n.fingerprint && !c.s.ended[ref.seq], true
	}
	first := own[n.key]
	return first != nil && first.fingerprint == n.fingerprint, first != nil
}

// keepImported keeps the keys that are not known, those of messages that were
// settled elsewhere in the hour from which their window counts.
func (c *commit) keepImported(keys []*importedKey) (kept int) {
	s := c.s
	oldest, now := hourOf(c.at.Add(-s.opts.DedupeWindow)), hourOf(c.at)
	apart := c.at.Sub(c.now) // of the clocks
	slices.SortStableFunc(keys, func(a, b *importedKey) int { return a.Since.Compare(b.Since) })
	for _, k := range keys {
		hour := min(hourOf(k.Since.Add(apart)), now)
		if _, known := s.keys.get(k.Hash, k.reads); known || c.reserved[k.Hash] != nil || hour < oldest {
			continue
		}
		e, ok := c.placed(k)
		if !ok {
			continue
		}
		c.keep(e, hour)
		kept++
	}
	return kept
}

// placed gives a key the sequence of its message, or a place. false: its message
// was settled meanwhile, and how is not known here.
func (c *commit) placed(k *importedKey) (keyEntry, bool) {
	s := c.s
	switch {
	case k.seq == 0:
		k.seq = s.keys.place(c.at)
	case s.keys.has(k.seq), s.settled.has(k.seq) && !k.State.Settled():
		return keyEntry{}, false
	}
	if k.refuses() {
		s.ended[k.seq] = true
		c.sets = append(c.sets, pair{endedKey(k.seq), seal([]byte{byte(k.State)})})
	}
	return k.entry(k.seq), true
}

func (op *importMessages) sought(x *keyIndex, all []soughtKey) []soughtKey {
	all = op.appendMessages.sought(x, all)
	for _, k := range op.keys {
		all = x.sought(all, k.Hash, &k.reads)
	}
	return all
}

func (op *importMessages) unsure() error {
	if err := op.appendMessages.unsure(); err != nil {
		return err
	}
	for _, k := range op.keys {
		if err := k.reads.failed(); err != nil {
			return err
		}
	}
	return nil
}
