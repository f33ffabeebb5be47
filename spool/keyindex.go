package spool

import (
	"bytes"

	"github.com/remora-mq/remora/message"
)

// keyIndex knows every dedupe key in the window. On disk the keys of a commit
// are one entry, in the bucket of their hour, dropped whole.
type keyIndex struct {
	kept  map[keyHash]keptKey
	with  map[uint64]*bitmap    // sequences that have a key, by range
	hours map[uint64]int        // keys by hour of accept
	part  uint64                // makes the next entry's key unique
	lives []idLife              // of the IDs
	other map[uint64]message.ID // by sequence: IDs that do not follow from what is kept
	came  uint64                // the highest place of a message that was settled elsewhere

	stampAt int64 // milliseconds since 1970 of stamp: all keys of a commit have one
	stamp   message.Stamp
}

// keptKey is a keyRef in 24 bytes, because there are a million of them: the ID
// follows from the sequence, the time, and the life of the spool.
type keptKey struct {
	seq         uint64
	fingerprint uint64
	at          uint64 // milliseconds since 1970, and in the low bits an index into lives
}

// idLife is what the IDs of one life of a spool begin with: spool ID and epoch.
type idLife [8]byte

const (
	lifeBits  = 16
	otherLife = 1<<lifeBits - 1 // the ID is in other
)

func newKeyIndex() keyIndex {
	return keyIndex{kept: map[keyHash]keptKey{}, with: map[uint64]*bitmap{}, hours: map[uint64]int{}, other: map[uint64]message.ID{}}
}

func (x *keyIndex) get(h keyHash) (ref keyRef, known bool) {
	k, known := x.kept[h]
	if !known {
		return ref, false
	}
	ref = keyRef{seq: k.seq, fingerprint: k.fingerprint, acceptedAt: int64(k.at >> lifeBits)}
	if life := k.at & otherLife; life != otherLife {
		ref.id = x.lives[life].id(ref, message.StampOf(ref.time()))
	} else {
		ref.id = x.other[k.seq]
	}
	return ref, true
}

func (x *keyIndex) has(seq uint64) bool {
	b := x.with[seq>>bitmapShift]
	return b != nil && b.has(seq)
}

func (x *keyIndex) add(e keyEntry, hour uint64) {
	if old, known := x.kept[e.hash]; known && old.seq > e.ref.seq && !elsewhere(old.seq) { // that was delayed, and moved
		x.hours[hour]++
		return
	} else if known {
		x.leave(old)
	}
	k := keptKey{seq: e.ref.seq, fingerprint: e.ref.fingerprint, at: uint64(e.ref.acceptedAt)<<lifeBits | x.life(e.ref)}
	if k.at&otherLife == otherLife {
		x.other[k.seq] = e.ref.id
	}
	x.kept[e.hash] = k
	if elsewhere(k.seq) {
		x.came = max(x.came, k.seq)
	}
	r := k.seq >> bitmapShift
	if x.with[r] == nil {
		x.with[r] = new(bitmap)
	}
	x.with[r].set(k.seq)
	x.hours[hour]++
}

// drop forgets a key, unless it was used anew.
func (x *keyIndex) drop(e keyEntry) {
	if k, known := x.kept[e.hash]; known && k.seq == e.ref.seq {
		delete(x.kept, e.hash)
		x.leave(k)
	}
}

func (x *keyIndex) leave(k keptKey) {
	delete(x.other, k.seq)
	b := x.with[k.seq>>bitmapShift]
	if b.clear(k.seq); b.count == 0 {
		delete(x.with, k.seq>>bitmapShift)
	}
}

// life returns the index of the life that the ID is of, or otherLife: an ID of
// another zone, or one more life than are counted.
func (x *keyIndex) life(ref keyRef) uint64 {
	life := idLife(ref.id[:8])
	at := len(x.lives) - 1 // the newest, nearly always
	for at >= 0 && x.lives[at] != life {
		at--
	}
	if at < 0 {
		at = len(x.lives)
	}
	if id := life.id(ref, x.stampOf(ref)); at >= otherLife || !bytes.Equal(id[:], ref.id[:]) {
		return otherLife
	}
	if at == len(x.lives) {
		x.lives = append(x.lives, life)
	}
	return uint64(at)
}

func (x *keyIndex) stampOf(ref keyRef) message.Stamp {
	if x.stampAt != ref.acceptedAt {
		x.stampAt, x.stamp = ref.acceptedAt, message.StampOf(ref.time())
	}
	return x.stamp
}

func (l idLife) id(ref keyRef, at message.Stamp) message.ID {
	epoch := uint32(l[5])<<16 | uint32(l[6])<<8 | uint32(l[7])
	return message.NewStampedID(message.SpoolID(l[:5]), epoch, ref.seq, at)
}

func (x *keyIndex) bytes() int64 { return int64(len(x.kept)) * keyCost }
