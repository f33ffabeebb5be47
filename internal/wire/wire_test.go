package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/internal/wire"
	"github.com/remora-mq/remora/message"
)

// A time is written as one layout of package time would write it.
func TestTimesAreRFC3339InMilliseconds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", rapid.IntRange(-50_000, 50_000).Draw(t, "offset"))
		at := time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).In(zone)
		got, err := wire.Time(at).MarshalText()
		if want := at.UTC().Format("2006-01-02T15:04:05.000Z"); err != nil || string(got) != want {
			t.Fatalf("%q, %v, want %q", got, err, want)
		}
	})
	if at := wire.OptionalTime(time.Time{}); at != nil {
		t.Errorf("the zero time is %v", at)
	}
}

// A history is a list, also one without events, and an attempt alone has an outcome: the
// first one too, which is the zero of its kind.
func TestEventsOfAHistory(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	for want, events := range map[string][]message.Event{
		`[]`: nil,
		`[{"at":"2026-01-02T03:04:05.006Z","event":"accepted"},{"at":"2026-01-02T03:04:05.006Z","event":"attempt","outcome":"` +
			message.OutcomeUnknown.String() + `","detail":"no answer"}]`: {
			{At: at, Name: "accepted"},
			{At: at, Name: "attempt", Outcome: message.OutcomeUnknown, Detail: "no answer"},
		},
	} {
		var h message.History
		for _, e := range events {
			h.Add(e)
		}
		if got, err := json.Marshal(wire.EventsOf(&h)); err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}
