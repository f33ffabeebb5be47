package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/duration"
)

// Size is a number of bytes.
type Size int64 //nolint:recvcheck // UnmarshalText needs the pointer, printing the value

// Units of a Size. KB, MB and GB are taken too, as powers of 1,000.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// sizeUnits are tried in order: a longer name before one that it ends with.
var sizeUnits = []struct {
	name  string
	bytes Size
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText reads a whole or decimal number with its unit, as 1.5GiB.
func (s *Size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(t, u.name); ok {
			return s.set(t, strings.TrimSpace(number), u.bytes)
		}
	}
	if _, err := strconv.ParseFloat(t, 64); err == nil {
		return fmt.Errorf("%q has no unit; write %sB, %sKiB, %sMiB or %sGiB", t, t, t, t, t)
	}
	return fmt.Errorf("%q is not a size; write a number and a unit, as 64MiB", t)
}

func (s *Size) set(text, number string, unit Size) error {
	n, err := strconv.ParseFloat(number, 64)
	if bytes := n * float64(unit); err == nil && bytes >= 0 && bytes < math.MaxInt64 {
		*s = Size(bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size; write a number and a unit, as 64MiB", text)
}

// String uses the largest binary unit that leaves no remainder.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s != 0 && s%u.bytes == 0 {
			return fmt.Sprintf("%d%s", s/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Duration is a time.Duration that is written with its unit; d is a day of 24 h.
type Duration time.Duration

// Units of a Duration.
const (
	Millisecond = Duration(time.Millisecond)
	Second      = Duration(time.Second)
	Minute      = Duration(time.Minute)
	Hour        = Duration(time.Hour)
)

// Std returns the duration as the standard library's.
func (d Duration) Std() time.Duration { return time.Duration(d) }

var errNegative = errors.New("a duration cannot be negative here")

// UnmarshalText reads what duration.Parse does, unless it is negative.
func (d *Duration) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	if _, err := strconv.ParseFloat(t, 64); err == nil {
		return fmt.Errorf("%q has no unit; write %sms, %ss, %sm or %sh", t, t, t, t, t)
	}
	v, err := duration.Parse(t)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a duration; write a number and a unit, as 30s, 5m, 24h or 7d", t)
	case v < 0:
		return errNegative
	}
	*d = Duration(v)
	return nil
}

// String leaves out the zeros at the end: 24h, not 24h0m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if d >= Minute && strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if d >= Hour && strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
