package kv

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A block of a table has one checksum for up to 64 KiB, and so has an entry of a
// log. When it fails, it can still prove all that is not damaged, if the damage
// lies within runs that have checksums of their own (Owner.Runs). What a run that
// ends with its CRC-32C adds to the CRC-32C around it depends on the run's length
// alone, not on its content:
//
//	after the run the register is R xor M(register before xor ^0), where R is
//	CRC-32C's residue and M shifts in as many zeros as the run has bytes
//
// So with a fitting checksum put to the end of each damaged run, the outer one
// holds exactly if every byte outside of them is as it was written: keys,
// versions, deletions, lengths. And a run that does not hold is damaged whatever
// the outer one says. Nothing of the damaged runs is made up: they stay as they
// were found, for the owner to judge.

// maxMend bounds how many damaged runs are tried, in all combinations: one that
// was damaged before the outer checksum was made is not to be mended.
const maxMend = 6

// proven reports whether whole holds with some of b's damaged runs mended. b is
// as it was when it returns.
func proven(b []byte, runs []Run, whole func() bool) bool {
	var damaged []mendedRun
	at := 0
	for _, r := range runs {
		if r.From < at || r.To > len(b) || r.To-r.From < crcSize {
			return false
		}
		at = r.To
		if m := mend(b[r.From:r.To]); m.was != m.fits {
			damaged = append(damaged, m)
		}
	}
	if len(damaged) > maxMend {
		return false
	}
	defer func() {
		for _, m := range damaged {
			m.put(m.was)
		}
	}()
	for mask := 1<<len(damaged) - 1; mask >= 0; mask-- { // first all of them
		for n, m := range damaged {
			if mask>>n&1 == 1 {
				m.put(m.fits)
			} else {
				m.put(m.was)
			}
		}
		if whole() {
			return true
		}
	}
	return false
}

// runsOf asks the owner, and takes nothing that lies outside of the value.
func runsOf(owner Owner, key, value []byte) []Run {
	if hidden(key) {
		return nil
	}
	runs := owner.Runs(key, value)
	if n := len(runs); n > 0 && runs[n-1].To > len(value) {
		return nil
	}
	return runs
}

// hidden reports whether the owner never sees a key.
func hidden(key []byte) bool { return bytes.Equal(key, sealKey) || bytes.HasPrefix(key, endKey) }

// mendedRun is a run whose checksum was one, and has to be another to fit.
type mendedRun struct {
	sum       []byte // its place
	was, fits uint32
}

func mend(run []byte) mendedRun {
	end := len(run) - crcSize
	return mendedRun{run[end:], binary.LittleEndian.Uint32(run[end:]), crc32.Checksum(run[:end], castagnoli)}
}

func (m mendedRun) put(sum uint32) { binary.LittleEndian.PutUint32(m.sum, sum) }
