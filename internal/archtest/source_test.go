package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// undocumented says what keeps the files of a package (name → source) from
// having their package doc in doc.go, or "".
func undocumented(name string, files map[string]string) string {
	source, ok := files["doc.go"]
	if !ok {
		return name + " has no doc.go"
	}
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", source, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		return fmt.Sprintf("%s: %v", name, err)
	}
	doc := file.Doc.Text()
	if opening := "Package " + file.Name.Name + " "; file.Name.Name != "main" && !strings.HasPrefix(doc, opening) {
		return fmt.Sprintf("%s/doc.go does not open with %q", name, opening)
	}
	if strings.TrimSpace(doc) == "" {
		return name + "/doc.go has no package doc"
	}
	return ""
}

// committing lists the files (name → source), tests apart, that call one of
// the ways by which Badger makes a write durable.
func committing(files map[string]string) ([]string, error) {
	var found []string
	for name, source := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		if commits(file) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found, nil
}

var committers = []string{"Commit", "CommitWith", "CommitAt", "Update", "NewWriteBatch", "NewWriteBatchAt", "NewManagedWriteBatch"}

func commits(file *ast.File) bool {
	packages := importNames(file)
	found := false
	ast.Inspect(file, func(node ast.Node) bool {
		sel, ok := node.(*ast.SelectorExpr)
		if !ok || !slices.Contains(committers, sel.Sel.Name) {
			return true
		}
		// crc32.Update is a function of a package, not a method of a database.
		if receiver, ok := sel.X.(*ast.Ident); !ok || !slices.Contains(packages, receiver.Name) {
			found = true
		}
		return true
	})
	return found
}

func importNames(file *ast.File) []string {
	var names []string
	for _, spec := range file.Imports {
		if spec.Name != nil {
			names = append(names, spec.Name.Name)
		} else if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			names = append(names, path.Base(imported))
		}
	}
	return names
}

var skips = []string{"Skip", "Skipf", "SkipNow"}

// skipping names the tests (name → source) that leave themselves out. What a
// test needs is installed by `make test`, or its absence is a failure.
func skipping(pkg string, files map[string]string) ([]string, error) {
	var wrong []string
	for name, source := range files {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok && selects(call.Fun, skips) && strings.HasSuffix(name, "_test.go") {
				wrong = append(wrong, fmt.Sprintf("%s/%s: a test is skipped here; let it fail, or install what it needs in .ci/deps",
					pkg, set.Position(call.Pos())))
			}
			return true
		})
	}
	return wrong, nil
}

func selects(fun ast.Expr, names []string) bool {
	sel, ok := fun.(*ast.SelectorExpr)
	return ok && slices.Contains(names, sel.Sel.Name)
}

// heapLines is the size past which a file is split, whatever is in it.
const heapLines = 500

func heaps(pkg string, files map[string]string) []string {
	var wrong []string
	for name, source := range files {
		if lines := strings.Count(source, "\n"); lines > heapLines {
			wrong = append(wrong, fmt.Sprintf("%s/%s has %d lines, the limit is %d: split it by what its parts do",
				pkg, name, lines, heapLines))
		}
	}
	return wrong
}
