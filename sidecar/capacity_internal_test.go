package sidecar

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/volume"
	"github.com/remora-mq/remora/spool"
)

func TestVolumesAreDivided(t *testing.T) {
	auto := func(limit config.Size) config.Spool { return config.Spool{Limit: limit, Reserve: config.ReserveAuto} }
	for _, tt := range []struct {
		name   string
		spool  config.Spool
		volume config.Size
		want   string // the refusal
	}{
		{"large", auto(config.GiB), 100 * config.GiB, ""},
		{"of one gigabyte", auto(614 * config.MiB), config.GiB, ""},
		{"small", auto(300 * config.MiB), 500 * config.MiB, ""},
		{"very small", auto(153 * config.MiB), 256 * config.MiB, ""},
		{"limit above the volume", auto(config.TiB), 2 * config.GiB, ""},
		{"unknown", auto(config.GiB), 0, ""},
		{"own reserve", config.Spool{Limit: config.GiB, Reserve: "1GiB"}, 10 * config.GiB, ""},
		{"own reserve without ballast", config.Spool{Limit: config.GiB, Reserve: "192MiB"}, 10 * config.GiB, ""},
		{"too small", auto(60 * config.MiB), 100 * config.MiB, "on a volume of"},
		{"small limit", auto(20 * config.MiB), 100 * config.GiB, "set spool.limit to"},
		{"reserve above the volume", config.Spool{Limit: config.GiB, Reserve: "30GiB"}, 10 * config.GiB, "have to stay free"},
		{"the least reserve", config.Spool{Limit: config.GiB, Reserve: "144MiB"}, 10 * config.GiB, ""},
		{"below the least reserve", config.Spool{Limit: config.GiB, Reserve: "143MiB"}, 10 * config.GiB, "take up to 144 MiB"},
		{"reserve too small", config.Spool{Limit: config.GiB, Reserve: "1MiB"}, 10 * config.GiB, "spool.reserve is 1MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := CapacityOf(tt.spool, volume.Space{Total: int64(tt.volume), Free: int64(tt.volume)})
			if tt.want != "" {
				if !errors.Is(err, errSmall) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "MiB") {
					t.Errorf("%+v, %v", c, err)
				}
				return
			}
			switch {
			case err != nil:
				t.Fatal(err)
			case tt.volume > 0 && c.Limit+c.Reserve+kv.RewriteRoom(c.Messages) > int64(tt.volume):
				t.Errorf("limit, reserve and a compaction of all messages are more than the volume: %+v", c)
			case tt.volume > 0 && c.Limit < int64(tt.spool.Limit) && c.limitedTo(c.Limit+2<<20, c.Reserve+c.Ballast, tt.spool.Reserve == config.ReserveAuto).fits():
				t.Errorf("a larger limit fits as well: %+v", c)
			case c.Reserve < kv.Headroom(c.memTable):
				t.Errorf("the reserve does not cover the database: %+v", c)
			case c.Messages < leastMessages || c.Messages+c.Ballast+kv.LogRoom(c.memTable) > c.Limit:
				t.Errorf("ballast, logs and messages are not within the limit: %+v", c)
			}
			if reserve, auto, _ := tt.spool.ReserveSize(); !auto && c.Reserve+c.Ballast != int64(reserve) {
				t.Errorf("kept are %d, want %d", c.Reserve+c.Ballast, reserve)
			}
		})
	}
}

// TestMarksLeaveHalfOfTheReserve: below it a page of the database might find no
// block.
func TestMarksLeaveHalfOfTheReserve(t *testing.T) {
	dir := t.TempDir()
	space, err := volume.SpaceOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	for reserve, want := range map[int64]bool{1: true, space.Total * 3: false} {
		r := newRoom(dir, Capacity{Volume: space.Total, Reserve: reserve}, nil)
		if err := r.Spare(); (err == nil) != want {
			t.Errorf("with a reserve of %d: %v", reserve, err)
		}
	}
}

// TestSpareForgetsWhatItSaw: it is asked for each mark, and the volume only so often.
func TestSpareForgetsWhatItSaw(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Volume: 1, Reserve: 2}, nil)
	if err := r.Spare(); err != nil {
		t.Fatal(err)
	}
	r.free.Store(0) // as if it had been full
	r.looked.Store(int64(time.Hour))
	if err := r.Spare(); err == nil {
		t.Error("what was seen lately does not count")
	}
	r.looked.Store(1)
	for deadline := time.Now().Add(time.Minute); r.Spare() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the volume has room, and is not asked again")
		}
	}
}

// TestUnitsFitTheirTopic: what is told as the largest message or batch can be stored.
func TestUnitsFitTheirTopic(t *testing.T) {
	c := Capacity{Messages: 16 << 20}
	if got := c.unit(16*config.MiB, 0.5); got != 15<<19 {
		t.Errorf("a batch may have %d bytes, and a topic half of 16 MiB", got)
	}
	if got := c.unit(4*config.MiB, 0.5); got != 4<<20 {
		t.Errorf("a message may have %d bytes", got)
	}
}

// TestRoom follows the two marks of the directory, and what is written between
// two measurements.
func TestRoom(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Limit: 1000, Reserve: 1}, nil)
	full := func(want bool, bytes int64) {
		t.Helper()
		if err := r.Refuse(bytes); errors.Is(err, spool.ErrFull) != want {
			t.Errorf("with %d, %d more: %v", r.taken(), bytes, err)
		}
	}
	r.used.Store(800)
	full(false, 200)
	full(true, 201) // it alone
	full(false, 200)
	r.Wrote(150)
	full(false, 50)
	full(true, 51)
	full(true, 1) // the high-water mark was reached
	r.used.Store(750)
	full(false, 1)
	r.low.Store(true)
	if err := r.Refuse(1); !errors.Is(err, spool.ErrDiskLow) {
		t.Error(err)
	}
}

// TestLowVolumeHasRoomAgain: at once when there is an eighth more than the
// reserve, else when the reserve has stayed free for 5 s.
func TestLowVolumeHasRoomAgain(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Limit: 1 << 40, Reserve: 800}, nil)
	now := time.Unix(100, 0)
	after := func(step time.Duration, free int64, low bool) {
		t.Helper()
		now = now.Add(step)
		if r.saw(free, now); errors.Is(r.Refuse(1), spool.ErrDiskLow) != low {
			t.Errorf("with %d free: low %t", free, !low)
		}
	}
	after(0, 800, false)
	after(time.Second, 799, true)
	after(time.Second, 899, true)
	after(time.Second, 900, false)
	after(time.Second, 799, true)
	after(3*time.Second, 800, true)
	after(time.Second, 799, true)
	after(4900*time.Millisecond, 800, true)
	after(100*time.Millisecond, 800, false)
}

// TestRoomLooksAtTheVolume: a reserve that no volume has is missed, and the
// ballast is not made of it.
func TestRoomLooksAtTheVolume(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Volume: 1 << 60, Limit: 1 << 40, Reserve: 1 << 60, Ballast: 1 << 20}, nil)
	r.Look()
	r.restore()
	if err := r.Refuse(1); !errors.Is(err, spool.ErrDiskLow) {
		t.Error(err)
	}
	r.cap.Reserve = 1
	r.restore()
	if err := r.Refuse(1); err != nil {
		t.Error(err)
	}
	if held, err := r.ballast.Held(); err != nil || held < 1<<20 {
		t.Errorf("ballast %d, %v", held, err)
	}
}

// TestRoomOfAVolumeThatDoesNotTell: what is not known keeps nobody waiting.
func TestRoomOfAVolumeThatDoesNotTell(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Limit: 1 << 40, Reserve: 1 << 20, Ballast: 1 << 20}, nil)
	r.restore()
	if err := r.Refuse(1); err != nil {
		t.Error(err)
	}
}

// TestAFullVolumeIsWaitedFor: full is neither broken nor forbidden.
func TestAFullVolumeIsWaitedFor(t *testing.T) {
	for err, want := range map[error]string{
		nil: "", unix.ENOSPC: "", unix.EDQUOT: "",
		unix.EIO:    "look at the disk",
		unix.EACCES: "give it to that user",
	} {
		got := unusable("/d", err)
		if (got == nil) != (want == "") || got != nil && !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v, want %q", err, got, want)
		}
	}
}

// TestSettledMessagesLeaveRoom: receipts, keys and marks of a small spool take a
// part of it; a large one has what is configured.
func TestSettledMessagesLeaveRoom(t *testing.T) {
	c := config.Default()
	for messages, want := range map[int64][4]int64{64 << 20: {8 << 20, 8 << 20, 8 << 20, 65_536}, 8 << 30: {256 << 20, 64 << 20, 256 << 20, 1_000_000}} {
		s := &Sidecar{cfg: c, log: slog.New(slog.DiscardHandler)}
		s.parts.room = newRoom(t.TempDir(), Capacity{Messages: messages}, nil)
		o := s.spoolOptions("")
		if got := [4]int64{o.ReceiptsLimit, o.DedupeLimit, s.markOptions().Limit, int64(o.ReceiptsMax)}; got != want {
			t.Errorf("of %d bytes: %d, want %d", messages, got, want)
		}
	}
}

// A batch is stored by one commit: no more messages are offered than it has room
// for, whatever they carry. On a volume that others take 1,000.
func TestBatchesFitIntoACommit(t *testing.T) {
	asked := config.Default().Spool.MaxBatch
	for memTable, want := range map[int64]int{0: asked.Messages, 4 << 20: spool.MostMessages(kv.MaxCommit(4<<20), int64(asked.Bytes))} {
		if got := (Capacity{memTable: memTable}).batch(asked); got != want || got < 400 {
			t.Errorf("with memtables of %d bytes: %d messages, want %d", memTable, got, want)
		}
	}
	if got := (Capacity{}).batch(config.MaxBatch{Messages: 5, Bytes: config.MiB}); got != 5 {
		t.Errorf("%d messages where 5 were asked for", got)
	}
}
