package spool_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A list, and an export, have what is behind damage that a running database meets, and
// say that something is missing.
func TestListsGoOnBehindDamage(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(t *testing.T, dir, text string)
		text   string // in the block that is damaged
	}{
		"a block of messages ends the table":       {hide, "body 20"},
		"Badger panics at a block of messages":     {explode, "body 20"},
		"a block of dead letters ends the table":   {hide, "dead 20"},
		"Badger panics at a block of dead letters": {explode, "dead 20"},
	} {
		t.Run(name, func(t *testing.T) {
			if !inChild(t) { // what else reads it ends the process
				return
			}
			const all, most = 80, 6 // that are there, and that may be missing
			r := newRig(t, spool.Options{Window: 1})
			for n := range all / 2 {
				r.accept(draft("t", fmt.Sprintf("dead %02d ", n)+strings.Repeat("x", 20_000)))
				r.bury(r.lease("t", 1)[0])
			}
			for n := range all / 2 {
				r.accept(draft("t", fmt.Sprintf("body %02d ", n)+strings.Repeat("x", 20_000)))
			}
			r.reopen()
			r.rests()
			tt.damage(t, r.dbDir(), tt.text)
			for _, q := range []spool.Query{{Content: true}, {Content: true, Topic: "t"}, {Content: true, Limit: 7}, {Content: true, Topic: "t", Limit: 7}} {
				got, unreadable := map[message.ID]int{}, 0
				for pages := 0; ; pages++ {
					page, err := r.List(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					unreadable += page.Unreadable
					for _, i := range page.Items {
						got[i.ID]++
					}
					if q.Cursor = page.Next; q.Cursor == "" {
						break
					}
					if pages > 500 {
						t.Fatalf("no end: %q", q.Cursor)
					}
				}
				for id, times := range got {
					if times > 1 {
						t.Errorf("%+v: message %s is there %d times", q, id, times)
					}
				}
				if missing := all - len(got); missing > most || (missing > 0) != (unreadable > 0) {
					t.Errorf("%+v: %d are missing, %d are unreadable", q, missing, unreadable)
				}
			}
			var file bytes.Buffer
			done, err := r.Export(t.Context(), &file, spool.Query{})
			if err != nil || done.Messages < all-most || done.Messages == all || done.Unreadable == 0 {
				t.Errorf("exported %+v, %v", done, err)
			}
		})
	}
}

// Index entries that cannot be read, however many in a row, do not stop paging.
func TestListPassesManyDamagedEntriesOfTheIndex(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "first"))
	const bad = 140_000 // more than a page steps over
	for n := 0; n < bad; n += 500 {
		r.behind(func(tx *kv.Tx) {
			for i := range 500 {
				tx.Set(indexKeyOf(uint64(n+i+2)), []byte("no index"))
			}
		})
	}
	unreadable := 0
	for q, pages := (spool.Query{}), 0; ; pages++ {
		page, err := r.List(t.Context(), q)
		if err != nil || pages > 5 {
			t.Fatalf("page %d after %q: %v", pages, q.Cursor, err)
		}
		unreadable += page.Unreadable
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if unreadable != bad {
		t.Errorf("%d are unreadable, want %d", unreadable, bad)
	}
}

func indexKeyOf(seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte("si"), seq) }
