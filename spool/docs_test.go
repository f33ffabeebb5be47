package spool_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// rows returns the cells of the first table in a page whose header begins with head.
func rows(t *testing.T, page, head string) (all [][]string) {
	t.Helper()
	b, err := os.ReadFile("../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(b), "\n| "+head+" |")
	if !found {
		t.Fatalf("%s has no table that begins with %q", page, head)
	}
	_, table, _ = strings.Cut(table, "\n|-")
	_, table, _ = strings.Cut(table, "\n")
	for line := range strings.SplitSeq(table, "\n") {
		if !strings.HasPrefix(line, "|") {
			return all
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		all = append(all, cells)
	}
	return all
}

// docs/state_machine.md says what the table in package message says.
func TestStateMachinePageIsTrue(t *testing.T) {
	var documented []string
	for _, row := range rows(t, "state_machine.md", "state") {
		from := message.StateUnknown
		if row[0] != "(accept)" {
			from = state(t, row[0])
			documented = append(documented, row[0])
			if want := kept(from); row[1] != want {
				t.Errorf("%s is %q, the page says %q", from, want, row[1])
			}
		}
		var next []message.State
		for _, name := range strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' }) {
			next = append(next, state(t, name))
		}
		for _, to := range message.States() {
			if listed := slices.Contains(next, to); listed != from.CanBecome(to) {
				t.Errorf("from %s to %s: the page says %v, the code %v", from, to, listed, from.CanBecome(to))
			}
		}
	}
	for _, s := range message.States() {
		if !slices.Contains(documented, s.String()) {
			t.Errorf("the page leaves out %s", s)
		}
	}
}

func state(t *testing.T, name string) message.State {
	t.Helper()
	s, err := message.ParseState(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kept(s message.State) string {
	switch {
	case s.Settled():
		return "settled"
	case s.Volatile():
		return "in memory"
	default:
		return "durable"
	}
}

// docs/spool.md lists every kind of entry, and no other.
func TestSpoolPageListsTheEntries(t *testing.T) {
	var documented []string
	for _, row := range rows(t, "spool.md", "key") {
		documented = append(documented, strings.Trim(strings.Fields(row[0])[0], "`"))
	}
	want := spool.Prefixes()
	slices.Sort(want)
	slices.Sort(documented)
	if !slices.Equal(documented, want) {
		t.Errorf("the page lists %v, there are %v", documented, want)
	}
}
