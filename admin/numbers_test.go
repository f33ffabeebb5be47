package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/spool"
)

// TestNumbersAreRead: ascending ranges of one origin, at most so many, or none at all. One
// that were read wrong would make a comparison take a message for lost.
func TestNumbersAreRead(t *testing.T) {
	const origin = "0102030405"
	singles := func(n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprint(2*i + 1)
		}
		return strings.Join(all, ",")
	}
	if n, p := readNumbers("", ""); n != nil || p != nil {
		t.Errorf("none were asked for: %+v, %v", n, p)
	}
	n, p := readNumbers(origin, "1-40,42,44-45")
	if want := []spool.NumberRange{{First: 1, Last: 40}, {First: 42, Last: 42}, {First: 44, Last: 45}}; p != nil || n.Origin.String() != origin || !slices.Equal(n.Ranges, want) {
		t.Errorf("%+v, %v, want %v", n, p, want)
	}
	if n, p := readNumbers(origin, singles(maxRanges)); p != nil || len(n.Ranges) != maxRanges {
		t.Errorf("as many as may be asked for: %v", p)
	}
	for _, bad := range []struct{ origin, numbers string }{
		{origin, ""},
		{"", "1"},
		{"01", "1"},
		{origin, "0"},
		{origin, "5,5"},
		{origin, "4-6,6"},
		{origin, "6-4"},
		{origin, "1-"},
		{origin, "-1"},
		{origin, "1,x"},
		{origin, singles(maxRanges + 1)},
	} {
		if n, p := readNumbers(bad.origin, bad.numbers); p == nil {
			t.Errorf("origin %q, numbers %.20q: %+v", bad.origin, bad.numbers, n)
		}
	}
}
