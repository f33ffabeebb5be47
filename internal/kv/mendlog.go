package kv

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// mendLog gives the entries of a log whose damage can be shown to lie within
// their values (mend.go) a checksum that holds, so that they are replayed with
// what is damaged of them, and returns the numbers of their commits. Only of those
// below the limit: a later one may be torn, and never was acknowledged.
func mendLog(data []byte, owner Owner, limit uint64) (mended []uint64) {
	if owner == nil {
		return nil
	}
	var c counter
	for at := min(walHeader, len(data)); ; {
		s, ok := readShape(data[at:])
		if ok && s.size() <= len(data)-at {
			raw := data[at : at+s.size()]
			if e, whole := readEntry(raw); whole {
				c.pass(e)
				at += len(raw)
				continue
			}
			if number := c.of(versionOf(raw, s)); number < limit && mendEntry(raw, s, owner) {
				mended = append(mended, number)
				c.step(s, versionOf(raw, s))
				at += len(raw)
				continue
			}
		}
		e, ok := unflipEntry(data[at:])
		switch {
		case ok && c.of(e.version) < limit:
			mended = append(mended, c.of(e.version))
			c.pass(e)
			at += e.size
		case ok || s.key == 0 || s.size() > len(data)-at:
			return mended
		default: // maybe its lengths hold
			c.step(s, versionOf(data[at:], s))
			at += s.size()
		}
	}
}

// counter numbers the commits of a log, also where a seal cannot be read: a version
// begins with the commit of that number, and a log with a version.
type counter struct{ version, number uint64 }

// of is the number of the commit that the next entry, of that version, is in.
func (c *counter) of(version uint64) uint64 {
	if version != c.version {
		return version
	}
	return c.number
}

func (c *counter) pass(e walEntry) {
	c.version, c.number = e.version, c.of(e.version)
	if bytes.Equal(e.key, sealKey) {
		c.number, _, _ = readSeal(e.value, e.version)
	}
	if e.ends() {
		c.number++
	}
}

// step passes an entry that is broken, whatever it has for a version.
func (c *counter) step(s walShape, version uint64) {
	if s.meta == bitFinTxn && version == c.version {
		c.number++
	}
}

func mendEntry(raw []byte, s walShape, owner Owner) bool {
	end := len(raw) - crcSize
	at := s.header + s.key
	var runs []Run
	for _, run := range runsOf(owner, raw[s.header:at-versionSize], raw[at:end]) {
		runs = append(runs, Run{run.From + at, run.To + at})
	}
	sum := binary.BigEndian.Uint32(raw[end:])
	if !proven(raw[:end], runs, func() bool { return crc32.Checksum(raw[:end], castagnoli) == sum }) {
		return false
	}
	binary.BigEndian.PutUint32(raw[end:], crc32.Checksum(raw[:end], castagnoli))
	return true
}
