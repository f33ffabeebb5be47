package message_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
)

var spoolID = message.SpoolID{0xa1, 0xb2, 0xc3, 0xd4, 0xe5}

// nearlyTime recovers a message's time from its ID as RocketMQ's tools do
// (Java MessageClientIDSetter.getNearlyTimeFromID): the milliseconds at bytes
// 10 to 13 since the beginning of the month in which now is, or of the month
// before, when that would be in the future.
func nearlyTime(id string, now time.Time) time.Time {
	const ipLength = 4 // of an ID of 32 digits
	b, err := hex.DecodeString(id)
	if err != nil {
		panic(err)
	}
	at := ipLength + 2 + 4
	span := int64(b[at])<<24 | int64(b[at+1])<<16 | int64(b[at+2])<<8 | int64(b[at+3])
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, now.Location())
	if month.UnixMilli()+span >= now.UnixMilli() {
		month = month.AddDate(0, -1, 0)
	}
	return time.UnixMilli(month.UnixMilli() + span)
}

func TestToolsRecoverTheTimeFromAnID(t *testing.T) {
	local := time.Local
	for name, at := range map[string]time.Time{
		"first ms of a month":     time.Date(2026, 3, 1, 0, 0, 0, 0, local),
		"last ms of a long month": time.Date(2026, 1, 31, 23, 59, 59, 999e6, local),
		"last ms of February":     time.Date(2026, 2, 28, 23, 59, 59, 999e6, local),
		"leap day":                time.Date(2028, 2, 29, 12, 0, 0, 0, local),
		"last ms of a year":       time.Date(2026, 12, 31, 23, 59, 59, 999e6, local),
		"first ms of a year":      time.Date(2027, 1, 1, 0, 0, 0, 0, local),
		"given in another zone":   time.Date(2026, 3, 1, 0, 30, 0, 0, time.FixedZone("", 14*3600)),
		"nanoseconds are cut off": time.Date(2026, 5, 6, 7, 8, 9, 999_999_999, local),
	} {
		t.Run(name, func(t *testing.T) {
			id := message.NewID(spoolID, 1, 1, at).String()
			for _, later := range []time.Duration{time.Millisecond, time.Second, 20 * 24 * time.Hour} {
				now := at.In(local).Add(later)
				if got, want := nearlyTime(id, now), at.Truncate(time.Millisecond); !got.Equal(want) {
					t.Errorf("asked %s later, the tools say %s, want %s", later, got, want)
				}
			}
		})
	}
}

func TestTimeFitsThroughSummerTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	old := time.Local
	time.Local = berlin
	defer func() { time.Local = old }()
	for _, at := range []time.Time{
		time.Date(2026, 3, 29, 3, 30, 0, 0, berlin), time.Date(2026, 3, 31, 23, 59, 59, 0, berlin), time.Date(2026, 10, 31, 23, 59, 59, 999e6, berlin),
	} {
		if got := nearlyTime(message.NewID(spoolID, 1, 1, at).String(), at.Add(time.Second)); !got.Equal(at) {
			t.Errorf("%s is read as %s", at, got)
		}
	}
}

func TestIDLayout(t *testing.T) {
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local) // 86,400,000 ms = 0x05265C00
	id := message.NewID(spoolID, 0xFF123456, 0x9999_8888_CAFE_BABE, at)
	if got, want := id.String(), "A1B2C3D4E5"+"123456"+"CAFE"+"05265C00"+"BABE"; got != want {
		t.Fatalf("ID is %s, want %s", got, want)
	}
	if id.Spool() != spoolID || id.Epoch() != 0x123456 || id.Seq32() != 0xCAFEBABE {
		t.Errorf("read back: %s, %#x, %#x", id.Spool(), id.Epoch(), id.Seq32())
	}
	if spoolID.String() != "a1b2c3d4e5" {
		t.Errorf("spool ID prints as %s", spoolID)
	}
}

func TestIDsDifferAtTheSameTime(t *testing.T) {
	at := time.Now()
	seen := map[message.ID]bool{}
	for _, spool := range []message.SpoolID{{1}, {2}} {
		for _, epoch := range []uint32{0, 1, message.MaxEpoch} {
			for _, seq := range []uint64{1, 2, 1 << 15, 1 << 16, 1<<16 + 1, 1 << 31, 1<<32 - 1} {
				id := message.NewID(spool, epoch, seq, at)
				if seen[id] {
					t.Errorf("%s twice", id)
				}
				seen[id] = true
			}
		}
	}
}

func TestParseID(t *testing.T) {
	id := message.NewID(spoolID, 1, 2, time.Now())
	for _, text := range []string{id.String(), strings.ToLower(id.String())} {
		if got, err := message.ParseID(text); err != nil || got != id {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "A1", id.String() + "0", id.String()[1:] + "G", " " + id.String()[1:], "8e03978e-40d5-43e8-bc93-6894a57f9324"} {
		if got, err := message.ParseID(text); !errors.Is(err, message.ErrBadID) || !got.IsZero() {
			t.Errorf("%q: %s, %v; want ErrBadID", text, got, err)
		}
	}
}

func TestIDInJSON(t *testing.T) {
	id := message.NewID(spoolID, 1, 2, time.Now())
	text, err := json.Marshal(map[message.ID]message.ID{id: id})
	if err != nil || strings.Count(string(text), id.String()) != 2 {
		t.Fatalf("%s, %v", text, err)
	}
	var back map[message.ID]message.ID
	if err := json.Unmarshal(text, &back); err != nil || back[id] != id {
		t.Errorf("%v, %v", back, err)
	}
}
