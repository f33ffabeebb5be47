package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestVerdict shows the checker histories that are broken in one way each.
func TestVerdict(t *testing.T) {
	const consumer, id = "consumer", "ID"
	message := &spec{number: 1, size: 5, seed: 1}
	message.topic = "orders"
	message.orderingKey = "k"
	sent, start := message.full(), time.Now()
	deliver := func(h *history, at time.Duration, body string, answered bool) {
		life := strconv.Itoa(len(h.kills))
		got := sent
		if body != "" {
			got.body = []byte(body)
		}
		c, _ := h.begin(id, consumer, life, got)
		h.end(id, c, answered)
		c.began, c.ended = start.Add(at), start.Add(at)
	}
	kill := func(h *history, name string, at time.Duration) {
		h.kills = append(h.kills, kill{name, start.Add(at), start.Add(at)})
	}
	for name, c := range map[string]struct {
		happened func(*history)
		want     string // "": nothing is wrong
	}{
		"handled":         {func(h *history) { deliver(h, 0, "", true) }, ""},
		"failed, handled": {func(h *history) { deliver(h, 0, "", false); deliver(h, time.Second, "", true) }, ""},
		"never called":    {func(*history) {}, "lost"},
		"never answered":  {func(h *history) { deliver(h, 0, "", false) }, "lost"},
		"altered":         {func(h *history) { deliver(h, 0, "other", true) }, "altered"},
		"called again":    {func(h *history) { deliver(h, 0, "", true); deliver(h, time.Minute, "", true) }, "repeat"},
		"again after a kill": {func(h *history) {
			deliver(h, 0, "", true)
			kill(h, consumer, time.Second)
			deliver(h, time.Minute, "", true)
		}, ""},
		"the call was read after the kill": {func(h *history) {
			deliver(h, 0, "", true)
			kill(h, consumer, -time.Second)
			deliver(h, time.Minute, "", true)
		}, ""},
		"twice in the life after a kill": {func(h *history) {
			kill(h, consumer, -time.Second)
			deliver(h, 0, "", true)
			deliver(h, time.Minute, "", true)
		}, "repeat"},
		"again after a late kill": {func(h *history) {
			deliver(h, 0, "", true)
			kill(h, consumer, time.Minute)
			deliver(h, time.Minute+time.Second, "", true)
		}, "repeat"},
		"again after a kill of another": {func(h *history) {
			deliver(h, 0, "", true)
			kill(h, "broker", time.Second)
			deliver(h, time.Minute, "", true)
		}, "repeat"},
		"phantom": {func(h *history) { deliver(h, 0, "", true); h.begin("stranger", consumer, "0", sent) }, "phantom"},
		"two IDs": {func(h *history) { deliver(h, 0, "", true); h.accept(message, "ID2") }, "was accepted as"},
		"refusal accepted": {func(h *history) {
			deliver(h, 0, "", true)
			h.accept(message.refused(413, func(*spec) {}), "ID2")
		}, "was accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			h.accept(message, id)
			c.happened(h)
			wrong := strings.Join(h.verdict(consumer), "; ")
			if (c.want == "") != (wrong == "") || !strings.Contains(wrong, c.want) {
				t.Errorf("verdict %q, want %q", wrong, c.want)
			}
		})
	}
}

func TestDisorder(t *testing.T) {
	h := newHistory()
	for n, id := range []string{"A", "B"} {
		s := &spec{number: n, size: 1}
		s.orderingKey = "k"
		h.accept(s, id)
	}
	at := func(id string, queue int, offset int64) stored { return stored{id, place{queue, offset}} }
	for name, c := range map[string]struct {
		copies []stored
		good   bool
	}{
		"in order":             {[]stored{at("A", 1, 0), at("B", 1, 1)}, true},
		"a repeat comes later": {[]stored{at("A", 1, 0), at("B", 1, 1), at("A", 1, 2)}, true},
		"overtaken":            {[]stored{at("B", 1, 0), at("A", 1, 1), at("B", 1, 2)}, false},
		"two queues":           {[]stored{at("A", 1, 0), at("B", 2, 1)}, false},
		"missing":              {[]stored{at("A", 1, 0)}, false},
	} {
		if wrong := h.disorder(c.copies); (len(wrong) == 0) != c.good {
			t.Errorf("%s: %v", name, wrong)
		}
	}
	if len(h.strangers([]stored{at("C", 0, 0)})) != 1 {
		t.Error("a stranger was not named")
	}
}
