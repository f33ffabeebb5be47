package ackgate

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// docs/state_machine.md says of deliveries what the table of moves says.
func TestDeliveryStatesPageIsTrue(t *testing.T) {
	page, err := os.ReadFile("../docs/state_machine.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n| delivery | is | may become |\n|---|---|---|\n")
	if !found {
		t.Fatal("the page has no table of deliveries")
	}
	documented := map[string][]string{}
	for line := range strings.SplitSeq(table, "\n") {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(line, "|")
		documented[strings.TrimSpace(cells[1])] = strings.FieldsFunc(cells[3], func(r rune) bool { return r == ',' || r == ' ' })
	}
	if len(documented) != len(moves) {
		t.Errorf("the page has %d states, the code %d", len(documented), len(moves))
	}
	for from, next := range moves {
		var want []string
		for _, to := range next {
			want = append(want, to.String())
		}
		if got := documented[from.String()]; !slices.Equal(got, want) {
			t.Errorf("from %s: the page says %v, the code %v", from, got, want)
		}
	}
}
