package main

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/api"
)

// docs/operating.md lists what the admin API has.
func TestOperatingPageListsTheAdminAPI(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	isDocumented := func(p string) bool {
		for row := range strings.Lines(string(text)) {
			begins := strings.HasPrefix(row, "| `") && strings.Contains(row, " "+path.Dir(p)+"/")
			if strings.Contains(row, " "+p+"`") || strings.Contains(row, "`"+p+"`") || begins && strings.Contains(row, "`/"+path.Base(p)+"`") {
				return true
			}
		}
		return false
	}
	paths := regexp.MustCompile("(?m)^  (/v1/.*):$").FindAllSubmatch(api.Admin, -1)
	if len(paths) == 0 {
		t.Error("the API has no paths")
	}
	for _, p := range paths {
		if !isDocumented(string(p[1])) {
			t.Errorf("the page says nothing of %s", p[1])
		}
	}
}

// docs/operating.md lists the commands that work on a spool, its subscriptions and
// operations, and no other.
func TestOperatingPageListsTheCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	// Of the table of commands, which has two columns; a command with a flag is a row of its own.
	commandRow := regexp.MustCompile("(?m)^\\| `([a-z]+(?:[ -][a-z]+)*)` \\| [^|]*\\|$")
	var documented []string
	for _, row := range commandRow.FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, row[1])
	}
	var want []string
	var walk func(c *cobra.Command, path string)
	walk = func(c *cobra.Command, path string) {
		if path += c.Name(); c.Flags().Lookup("dir") != nil || c.HasParent() && slices.Contains([]string{"spool", "subscription", "operation"}, c.Parent().Name()) {
			want = append(want, path)
		}
		for _, sub := range c.Commands() {
			walk(sub, path+" ")
		}
	}
	for _, c := range newRoot().Commands() {
		walk(c, "")
	}
	slices.Sort(documented)
	slices.Sort(want)
	if !slices.Equal(documented, want) {
		t.Errorf("the page lists %v, there are %v", documented, want)
	}
}

// The commands that the console and the conditions name are there.
func TestConsoleNamesCommands(t *testing.T) {
	for _, name := range []string{"ui/index.html", "advice.go"} {
		text, err := os.ReadFile("../../admin/" + name)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, words := range regexp.MustCompile(`((?:The|the|another) )?\bsidecar ((?:[a-z][a-z-]+ ?)+)`).FindAllStringSubmatch(string(text), -1) {
			if words[1] != "" {
				continue // of a sidecar, not a command
			}
			found++
			if c, _, err := newRoot().Find(strings.Fields(words[2])); err != nil || !c.HasParent() || !c.Runnable() {
				t.Errorf("%s: there is no command sidecar %s (%v)", name, words[2], err)
			}
		}
		if found < 5 {
			t.Errorf("%s names %d commands", name, found)
		}
	}
}
