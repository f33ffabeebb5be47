package config_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/remora-mq/remora/config"
)

// TestPageHasEveryKey compares docs/configuration.md with the keys there are, and with
// their defaults.
func TestPageHasEveryKey(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.\\[\\]]+)` \\| `(.*?)` \\| .+ \\|$").FindAllStringSubmatch(string(text), -1) {
		if _, twice := documented[row[1]]; twice {
			t.Errorf("%s is there twice", row[1])
		}
		documented[row[1]] = row[2]
	}
	c := config.Default()
	c.Subscriptions = []config.Subscription{{}}
	actual := map[string]string{}
	for _, s := range (&config.Loaded{Config: c}).Settings() {
		actual[strings.Replace(s.Path, "[0]", "[]", 1)] = s.Value
	}
	for _, key := range slices.Sorted(maps.Keys(actual)) {
		if value, ok := documented[key]; !ok || value != actual[key] {
			t.Errorf("%s: the page says %q, its default is %q", key, value, actual[key])
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("there is no key %s", key)
	}
}
