package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var linkForm = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

// TestLinksResolve checks that what a page links to inside the repository is there.
func TestLinksResolve(t *testing.T) {
	var dead []string
	checked := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return skipDir(err)
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range linkForm.FindAllSubmatch(text, -1) {
			target := string(m[1])
			if strings.Contains(target, ":") {
				continue
			}
			checked++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target)); err != nil {
				dead = append(dead, path+" links to "+target+", which is not there")
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 5 {
		t.Fatalf("only %d links were found, the check would prove nothing", checked)
	}
	requireNone(t, dead)
}

func skipDir(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}
