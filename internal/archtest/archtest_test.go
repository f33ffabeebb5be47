package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root is the module's folder, seen from this package.
const root = "../.."

func TestEveryPackageHasARoom(t *testing.T) { requireNone(t, unhoused(house(t))) }

func TestImportsGoDown(t *testing.T) { requireNone(t, upward(house(t))) }

func TestLibrariesStayInTheirRooms(t *testing.T) { requireNone(t, escaped(house(t))) }

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range house(t) {
		if wrong := undocumented(p.name, sources(t, p.name)); wrong != "" {
			t.Error(wrong)
		}
	}
}

func TestOneFileCommits(t *testing.T) {
	found, err := committing(sources(t, "internal/kv"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Errorf("files of internal/kv that commit to Badger: %q, want the committer's alone", found)
	}
}

func TestNoTestIsSkipped(t *testing.T) {
	for _, p := range house(t) {
		wrong, err := skipping(p.name, sources(t, p.name))
		if err != nil {
			t.Fatal(err)
		}
		requireNone(t, wrong)
	}
}

func TestNoFileIsAHeap(t *testing.T) {
	for _, p := range house(t) {
		requireNone(t, heaps(p.name, sources(t, p.name)))
	}
}

func requireNone(t *testing.T, wrong []string) {
	t.Helper()
	for _, w := range wrong {
		t.Error(w)
	}
}

// house lists the module's packages.
func house(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	pkgs := decode(t, string(out))
	if len(pkgs) < 5 {
		t.Fatalf("only %d packages were listed, the check would prove nothing", len(pkgs))
	}
	return pkgs
}

func decode(t *testing.T, out string) []pkg {
	t.Helper()
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var listed struct {
			ImportPath string   `json:"ImportPath"`
			Imports    []string `json:"Imports"`
		}
		if err := dec.Decode(&listed); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("read the list of packages: %v", err)
		}
		pkgs = append(pkgs, pkg{name: strings.TrimPrefix(listed.ImportPath, module+"/"), imports: listed.Imports})
	}
}

// sources reads the Go files of a package.
func sources(t *testing.T, name string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(name), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string, len(paths))
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(source)
	}
	return files
}
