package main

import (
	"strings"
	"testing"
)

// TestComparisonSaysOneAndMany: what is said of one message is not said as of many.
func TestComparisonSaysOneAndMany(t *testing.T) {
	for _, c := range []struct {
		of   comparedOrigin
		want string
	}{
		{comparedOrigin{Maybe: 1}, "1 message is not seen: it may have been handled"},
		{comparedOrigin{Maybe: 2}, "2 messages are not seen: they may have been handled"},
		{comparedOrigin{Waiting: 1}, "1 message is on its way: "},
		{comparedOrigin{Waiting: 2}, "2 messages are on their way: "},
		{comparedOrigin{NotDue: 1}, "1 message is not due: "},
		{comparedOrigin{NotDue: 2}, "2 messages are not due: "},
	} {
		err := comparedVerdict(&strings.Builder{}, &compared{Origins: []comparedOrigin{c.of}})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.of, err, c.want)
		}
	}
}
