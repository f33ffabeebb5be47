package spool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// hide makes a block one at which Badger ends reading its table, and says nothing: its
// checksum is longer than it.
func hide(t *testing.T, dir, text string) {
	t.Helper()
	path, end := middleBlock(t, dir, text)
	flipBits(t, path, end-4, 1<<6)
}

// explode makes a block one at which Badger panics: it has more entries than bytes.
func explode(t *testing.T, dir, text string) {
	t.Helper()
	path, end := middleBlock(t, dir, text)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipBits(t, path, end-8-int(binary.BigEndian.Uint32(data[end-4:])), 1<<6)
}

// middleBlock finds the end of the middle block of a table, of those that hold text if that
// is given, and that are neither the first of their table nor the last.
func middleBlock(t *testing.T, dir, text string) (path string, end int) {
	t.Helper()
	return inFile(t, filepath.Join(dir, "*.sst"), func(data []byte) int {
		ends := blockEnds(data)
		var holding []int
		for at := 1; at < len(ends)-1; at++ {
			if bytes.Contains(data[ends[at-1]:ends[at]], []byte(text)) {
				holding = append(holding, ends[at])
			}
		}
		if len(holding) == 0 {
			return -1
		}
		return holding[(len(holding)-1)/2]
	})
}

// blockEnds finds the blocks of a table by their checksums.
func blockEnds(data []byte) (ends []int) {
	start := 0
	for end := 10; end <= len(data); end++ {
		size := int(binary.BigEndian.Uint32(data[end-4:]))
		if size < 2 || size > 6 || end-4-size < start || data[end-4-size] != 0x10 {
			continue
		}
		sum, n := binary.Uvarint(data[end-3-size : end-4])
		if n == size-1 && uint32(sum) == crc32.Checksum(data[start:end-4-size], crc32.MakeTable(crc32.Castagnoli)) {
			ends, start = append(ends, end), end
		}
	}
	return ends
}

// rests waits until the spool reads nothing by itself: damage of what it reads for what
// is due ends the process.
func (r *rig) rests() {
	r.t.Helper()
	eventually(r.t, r.DueKnown)
}

// restarts ends the process that met damage, and begins the next one.
func (r *rig) restarts() {
	r.t.Helper()
	select {
	case <-r.Failed():
	case <-time.After(time.Minute):
		r.t.Fatalf("what is hidden is passed over; seen %q", r.Damage().Seen)
	}
	if err := r.db.Err(); !errors.Is(err, kv.ErrDamaged) {
		r.t.Fatalf("failed with %v", err)
	}
	_ = r.Close() // of the spool: a fenced database is not closed
	from := r.dbDir()
	r.life++
	copyStill(r.t, from, r.dbDir())
	if err := r.start(); err != nil {
		r.t.Fatal(err)
	}
	if !r.Damage().Pending() {
		r.t.Error("no damage is reported")
	}
}

// apart are drafts that are stored apart, each in a chunk of its own, if they come in
// one unit of a thousand: so many places of payloads are more than a block.
func apart(first int, each func(n int) spool.Draft) (all []spool.Draft) {
	for n := first; n < first+1000; n++ {
		d := each(n)
		d.Body = append(d.Body, strings.Repeat(".", 300)...)
		all = append(all, d)
	}
	return all
}

// payloadPlaces stands where a block begins that holds nothing but places of payloads.
const payloadPlaces = "sx\x00\x00\x00\x00\x00\x00"

// A backlog that seems to end where its table is damaged is not taken for forwarded: the
// process starts again, and what was hidden goes in its place, before what comes later.
func TestABacklogHiddenByDamageKeepsItsOrder(t *testing.T) {
	body := func(n int) string { return fmt.Sprintf("body %04d ", n) }
	each := func(n int) spool.Draft { return keyed("t", body(n), "key") }
	for name, tt := range map[string]struct {
		all    int
		fill   func(*rig)
		hidden string // what stands in the block that is
	}{
		"messages": {60, func(r *rig) {
			for n := range 60 {
				r.accept(keyed("t", body(n)+strings.Repeat("x", 3000), "key"))
			}
		}, body(30)},
		"the places of their payloads": {6000, func(r *rig) {
			for n := range 6 {
				r.accept(apart(1000*n, each)...)
			}
		}, payloadPlaces},
	} {
		t.Run(name, func(t *testing.T) {
			if !inChild(t) {
				return
			}
			r := newRig(t, spool.Options{Window: 64 << 10})
			tt.fill(r)
			r.reopen()
			hide(t, r.dbDir(), tt.hidden)
			got := 0
			next := func() (err error) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				leases, err := r.Lease(ctx, "t", spool.LeaseOptions{MaxMessages: 1})
				for _, l := range leases {
					if want := body(got); !bytes.HasPrefix(l.Body, []byte(want)) {
						t.Fatalf("%.10s is forwarded where %s is next", l.Body, want)
					}
					got++
				}
				r.confirm(leases)
				return err
			}
			var err error
			for err == nil {
				err = next()
			}
			if !errors.Is(err, spool.ErrReadOnly) || got == 0 {
				t.Fatalf("%d of %d are forwarded, then: %v", got, tt.all, err)
			}
			r.restarts()
			got = tt.all - int(r.Ledger().Total.InSpool.Held()) // of the last it may not be written that they were confirmed
			r.accept(each(tt.all))
			for got <= tt.all {
				if err := next(); err != nil {
					t.Fatalf("%d of %d are forwarded, then: %v", got, tt.all, err)
				}
			}
		})
	}
}

// What is due and hidden by damage is not passed over, nor is its place deleted.
func TestWhatFallsDueIsNotHiddenByDamage(t *testing.T) {
	const all = 6000
	later := func(d spool.Draft) spool.Draft { return after(d, time.Hour) }
	mayExpire := func(d spool.Draft) spool.Draft { return mortal(d, time.Hour) }
	for name, tt := range map[string]struct {
		make   func(spool.Draft) spool.Draft
		hidden string // what stands in the block that is
	}{
		"the places of delayed messages":   {later, "qe\x00\x00\x01"},
		"a delayed message":                {later, "body 3000"},
		"the payload of a delayed message": {later, payloadPlaces},
		"the places of TTLs":               {mayExpire, "qt\x00\x00\x01"},
		"a message with a TTL":             {mayExpire, "body 3000"},
		"the payload of one with a TTL":    {mayExpire, payloadPlaces},
	} {
		t.Run(name, func(t *testing.T) {
			if !inChild(t) {
				return
			}
			r, c := timed(t, spool.Options{Window: 1})
			each := func(n int) spool.Draft {
				body := fmt.Sprintf("body %04d", n)
				return tt.make(under("key of "+body, draft("t", body)))
			}
			for n := 0; n < all; n += 1000 {
				if tt.hidden == payloadPlaces {
					r.accept(apart(n, each)...)
					continue
				}
				for i := n; i < n+1000; i += 100 {
					var some []spool.Draft
					for k := range 100 {
						some = append(some, each(i+k))
					}
					r.accept(some...)
				}
			}
			r.reopen()
			hide(t, r.dbDir(), tt.hidden)
			c.advance(2 * time.Hour)
			r.WakeDue()
			r.restarts()
			for began := time.Now(); ; time.Sleep(time.Millisecond) {
				r.WakeDue()
				n := r.Ledger().Total
				if due := n.InSpool.Pending + n.InSpool.Dead + n.Lost; n.InSpool.Delayed == 0 && due == all && n.Lost == 0 {
					break
				}
				if time.Since(began) > time.Minute {
					t.Fatalf("of %d messages that are due: %+v", all, n)
				}
			}
		})
	}
}

// What an opening reads is not taken for all that there is where a table is damaged: it
// is opened once more, and salvages.
func TestAnOpeningIsNotMisledByDamage(t *testing.T) {
	r := newRig(t, spool.Options{})
	for range 40 {
		var all []spool.Draft
		for n := range 200 {
			all = append(all, draft("t", fmt.Sprintf("body %d", n)))
		}
		r.accept(all...)
		r.confirm(r.leaseSome("t", 200))
	}
	r.close()
	hide(t, r.dbDir(), "")
	if err := r.tryOpen(); !errors.Is(err, kv.ErrDamaged) {
		t.Fatalf("opened: %v", err)
	}
	if err := r.tryOpen(); err != nil || !r.Damage().Pending() {
		t.Fatalf("opened once more: %v, %+v", err, r.Damage())
	}
}
