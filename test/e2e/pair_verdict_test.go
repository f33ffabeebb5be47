package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestPairVerdict shows the checker of the pair histories that are broken in one way
// each.
func TestPairVerdict(t *testing.T) {
	const id, a, b, failed = "ID", "consuming a", "consuming b", " failed"
	start := time.Now()
	for name, c := range map[string]struct {
		calls []string // who answered 200, or failed, a minute apart
		kills map[string]time.Duration
		good  bool
	}{
		"once":                          {calls: []string{a}, good: true},
		"again":                         {calls: []string{a, b}},
		"again after a kill":            {calls: []string{a, b}, kills: map[string]time.Duration{a: time.Second}, good: true},
		"after a kill of the store":     {calls: []string{a, a}, kills: map[string]time.Duration{"store": time.Second}, good: true},
		"after a kill of the other":     {calls: []string{a, b}, kills: map[string]time.Duration{b: time.Second}},
		"after a kill of the broker":    {calls: []string{a, b}, kills: map[string]time.Duration{"broker-a": time.Second}},
		"after a kill long after":       {calls: []string{a, b}, kills: map[string]time.Duration{a: 30 * time.Second}},
		"twice for one kill":            {calls: []string{a, b, a}, kills: map[string]time.Duration{"store": time.Second}},
		"and failed, and again":         {calls: []string{a, b + failed, b + failed, a}, kills: map[string]time.Duration{a: time.Second}, good: true},
		"twice, each for a kill":        {calls: []string{a, b, a}, kills: map[string]time.Duration{a: time.Second, b: time.Minute + time.Second}, good: true},
		"after an application's death":  {calls: []string{a, b}, kills: map[string]time.Duration{"application of the " + a: 0}, good: true},
		"after another's applications'": {calls: []string{a, b}, kills: map[string]time.Duration{"application of the " + b: 0}},
	} {
		h := newHistory()
		h.accept(&spec{number: 1, size: 1}, id)
		for i, by := range c.calls {
			by, no := strings.CutSuffix(by, failed)
			called, _ := h.begin(id, by, "", content{})
			h.end(id, called, !no)
			called.began = start.Add(time.Duration(i) * time.Minute)
			called.ended = called.began
		}
		for name, at := range c.kills {
			h.kills = append(h.kills, kill{name, start.Add(at), start.Add(at)})
		}
		if wrong := (&pair{facts: h}).repeats(id); (len(wrong) == 0) != c.good {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}

// TestCallsThoughDoneAreFound: a call for what the store has done is wrong, unless the
// 200 for that came after it had begun, or its sender was killed before it was read.
func TestCallsThoughDoneAreFound(t *testing.T) {
	const a, b, killed = "consuming a", "consuming b", 10 * time.Second
	for name, c := range map[string]struct {
		before, read, done time.Duration // when its sender called for another message, and for this one; and when this one was answered 200, of another's call
		by                 string
		good               bool
	}{
		"without a kill":        {before: 1, read: 3, done: 2, by: a},
		"looked late":           {before: 1, read: 3, done: 4, by: a, good: true},
		"killed before":         {before: 1, read: killed + 2, done: 2, by: a, good: true},
		"another was killed":    {before: 1, read: killed + 2, done: 2, by: b},
		"begun after that kill": {before: killed + 1, read: killed + 2, done: 2, by: a},
	} {
		h := newHistory()
		start := time.Now()
		called := func(id, life string, at, done time.Duration) *call {
			made, _ := h.begin(id, c.by, life, content{})
			h.end(id, made, done > 0)
			made.began, made.ended = start.Add(at), start.Add(done)
			return made
		}
		h.accept(&spec{number: 1, size: 1}, "ID")
		called("OTHER", "1", c.before, 0)
		called("ID", "2", 1, c.done)
		called("ID", "1", c.read, 0).recorded = true
		h.kills = []kill{{a, start.Add(killed), start.Add(killed)}}
		if wrong := (&pair{facts: h}).calledThoughDone("ID"); (len(wrong) == 0) != c.good {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}

// TestCustodyIsJudged: what an offset passed has a 200 by then, or as many copies that
// were sent back as were passed.
func TestCustodyIsJudged(t *testing.T) {
	for name, c := range map[string]struct {
		answered      bool
		back, entries int
		good          bool
	}{
		"answered":                      {answered: true, entries: 2, good: true},
		"answered later":                {entries: 1},
		"sent back":                     {back: 1, entries: 1, good: true},
		"sent back, and passed again":   {back: 1, entries: 2},
		"sent back, and then once more": {back: 2, entries: 2, good: true},
	} {
		h := newHistory()
		watch := custody{facts: h, back: map[string]int{"ID": c.back}, seen: map[string]int{}}
		called, _ := h.begin("ID", "a", "", content{})
		h.end("ID", called, true)
		for range c.entries {
			watch.found = append(watch.found, entry{"ID", time.Now(), &passed{}})
		}
		if !c.answered {
			called.ended = time.Now().Add(time.Minute) // after it was passed
		}
		watch.judge()
		if wrong := h.complaints(); (len(wrong) == 0) != c.good {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}

func TestProgressOfMQAdminIsRead(t *testing.T) {
	const good = `#Topic  #Broker Name  #QID  #Broker Offset  #Consumer Offset  #Diff  #Inflight  #LastTime
%RETRY%orders-app  broker-a  0  3  3  0  0  N/A
orders             broker-a  0  0  0  0  0  N/A
orders             broker-a  1  1  1  0  0  2026-11-27 07:39:15
orders             broker-a  2  1  1  0  0  2026-11-27 07:39:15
orders             broker-a  3  1  1  0  0  2026-11-27 07:39:15

Consume TPS: 0.30
Consume Diff Total: 0
Consume Inflight Total: 0
`
	for text, want := range map[string]bool{
		good: true, strings.Replace(good, "3  3  0", "3  2  1", 1): false, strings.Replace(good, "Total: 0", "Total: 1", 1): false,
		strings.Replace(good, "orders  ", "others  ", 1): false, "": false,
	} {
		if err := nothingBehind(text, "orders"); (err == nil) != want {
			t.Errorf("%v of\n%s", err, text)
		}
	}
}
