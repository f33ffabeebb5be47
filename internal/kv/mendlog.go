package kv

import (
	"encoding/binary"
	"hash/crc32"
)

// mendLog gives the entries of a log whose damage can be shown to lie within
// their values (mend.go) a checksum that holds, so that they are replayed with
// what is damaged of them, and returns their commits. Only those below the
// limit: a later one may be torn, and never was acknowledged.
func mendLog(data []byte, owner Owner, limit uint64) (mended []uint64) {
	if owner == nil {
		return nil
	}
	for at := min(walHeader, len(data)); ; {
		s, ok := readShape(data[at:])
		if ok && s.size() <= len(data)-at {
			raw := data[at : at+s.size()]
			if _, whole := readEntry(raw); whole {
				at += len(raw)
				continue
			}
			if ts := versionOf(raw, s); ts < limit && mendEntry(raw, s, owner) {
				mended = append(mended, ts)
				at += len(raw)
				continue
			}
		}
		e, ok := unflipEntry(data[at:])
		switch {
		case ok && e.ts < limit:
			mended = append(mended, e.ts)
			at += e.size
		case ok || s.key == 0 || s.size() > len(data)-at:
			return mended
		default: // maybe its lengths hold
			at += s.size()
		}
	}
}

func mendEntry(raw []byte, s walShape, owner Owner) bool {
	end := len(raw) - crcSize
	at := s.header + s.key
	var runs []Run
	for _, run := range runsOf(owner, raw[s.header:at-tsSize], raw[at:end]) {
		runs = append(runs, Run{run.From + at, run.To + at})
	}
	sum := binary.BigEndian.Uint32(raw[end:])
	if !proven(raw[:end], runs, func() bool { return crc32.Checksum(raw[:end], castagnoli) == sum }) {
		return false
	}
	binary.BigEndian.PutUint32(raw[end:], crc32.Checksum(raw[:end], castagnoli))
	return true
}
