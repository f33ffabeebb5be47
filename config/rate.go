package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Rate is messages a second: "500/s", "30/m", "10/h", or "500", which is a second's.
type Rate float64

// per is how many seconds the units of a rate have.
var per = map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	number, unit, slash := strings.Cut(string(text), "/")
	seconds, known := per[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || slash && unit == "" || math.IsNaN(n) || n <= 0 || n/seconds > 1e9 {
		return fmt.Errorf("%q is not a rate; write messages and their time, as 500/s, 30/m or 10/h", text)
	}
	*r = Rate(n / seconds)
	return nil
}

// String is what UnmarshalText reads.
func (r Rate) String() string {
	n, unit := float64(r), "/s"
	switch {
	case n < 1.0/60:
		n, unit = n*3600, "/h"
	case n < 1:
		n, unit = n*60, "/m"
	}
	return strconv.FormatFloat(n, 'f', -1, 64) + unit
}

// rates are the topics' rates in messages a second.
func rates(of map[string]Rate) map[string]float64 {
	all := make(map[string]float64, len(of))
	for topic, r := range of {
		all[topic] = float64(r)
	}
	return all
}

// PerSecond returns the rates at which topics are forwarded, in messages a
// second. A topic that is missing has none.
func (f Forwarder) PerSecond() map[string]float64 { return rates(f.Rate) }

// PerSecond returns the rates at which topics are accepted, as above.
func (t Topics) PerSecond() map[string]float64 { return rates(t.Rate) }
