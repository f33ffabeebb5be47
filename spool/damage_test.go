package spool_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// Damage stops nothing else, and is never cleaned away: what cannot be read now
// may be read by other means.
func TestDamagedBlockIsKeptAndNamed(t *testing.T) {
	tests := []struct {
		name string
		do   func(block []byte)
		want string // what can still be forwarded
	}{
		{"second record", func(b []byte) { b[len(b)/2] ^= 1 }, "[0 2 behind]"},
		{"length of the second record", func(b []byte) { b[2+(len(b)-2)/3+2] ^= 1 }, "[0 behind]"},
		{"last record", func(b []byte) { b[len(b)-1] ^= 1 }, "[0 1 behind]"},
		{"count too small", func(b []byte) { b[1] = 1 }, "[0 behind]"},
		{"count too large", func(b []byte) { b[0] = 0xff }, "[0 1 2 behind]"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, spool.Options{})
			r.accept(draft("t", "0"), draft("t", "1"), draft("t", "2"))
			block := r.find("sm")[0]
			for range 10 {
				r.accept(draft("other", "x"))
			}
			r.accept(draft("t", "behind"))
			tc.do(block.value)
			r.behind(func(tx *kv.Tx) { tx.Set(block.key, block.value) })
			r.reopen()
			var got []string
			for len(got) < len(strings.Fields(tc.want)) {
				leases := r.lease("t", 0)
				got = append(got, bodies(leases)...)
				r.confirm(leases)
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("forwarded %v, want %s", got, tc.want)
			}
			r.none("t")
			r.reopen()
			r.none("t")
			if again := r.find("sm" + string(block.key[2:])); len(again) != 1 || !slices.Equal(again[0].value, block.value) {
				t.Error("the damaged block is gone")
			}
			a, err := r.Audit(t.Context())
			if err != nil || a.Balanced || len(a.Damage) == 0 {
				t.Errorf("balanced %v, damage %v (%v)", a.Balanced, a.Damage, err)
			}
		})
	}
}

// A block of which all is settled but some cannot be read was deleted when it
// was next looked at.
func TestDamagedBlockStaysWhenTheRestIsSettled(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "0"), draft("t", "1"))
	r.confirm(r.lease("t", 1))
	r.reopen() // the first is settled
	block := r.find("sm")[0]
	block.value[len(block.value)-1] ^= 1
	r.behind(func(tx *kv.Tx) { tx.Set(block.key, block.value) })
	r.reopen()
	r.none("t")
	r.reopen()
	if len(r.find("sm")) != 1 {
		t.Fatal("the damaged block is gone")
	}
}
