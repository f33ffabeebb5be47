package wire

import "time"

// Time marshals as RFC 3339, UTC, in milliseconds.
type Time time.Time

// MarshalText returns it as text.
func (t Time) MarshalText() ([]byte, error) { return t.Append(make([]byte, 0, 32)), nil }

// Append appends it.
func (t Time) Append(b []byte) []byte {
	utc := time.Time(t).UTC()
	b = utc.AppendFormat(b, time.RFC3339) // the one layout that time does not parse each time
	ms := utc.Nanosecond() / int(time.Millisecond)
	return append(b[:len(b)-len("Z")], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// OptionalTime returns nil for the zero time, which JSON leaves out.
func OptionalTime(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return new(Time(t))
}
