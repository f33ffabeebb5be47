package archtest

import (
	"slices"
	"strings"
	"testing"
)

// These tests show each rule a house that breaks it, and one that does not.

func TestRulesSeeBadImports(t *testing.T) {
	tests := []struct {
		name   string
		rule   func([]pkg) []string
		pkg    string
		imp    string
		broken bool
	}{
		{"unknown package", unhoused, "util", "fmt", true},
		{"unknown folder below a known one", unhoused, "spool/extra", "fmt", true},
		{"unknown internal package", unhoused, "internal/common", "fmt", true},
		{"a backend is known by its folder", unhoused, "broker/kafka", "fmt", false},
		{"a test harness is known", unhoused, "test/crash/crashfs/disk", "fmt", false},
		{"a name that only begins like one", unhoused, "testing", "fmt", true},

		{"down", upward, "forwarder", module + "/spool", false},
		{"far down", upward, "sidecar", module + "/internal/kv", false},
		{"up", upward, "spool", module + "/forwarder", true},
		{"up from the ground", upward, "message", module + "/spool", true},
		{"sibling policy", upward, "forwarder", module + "/ackgate", true},
		{"sibling backend", upward, "broker/rocketmq", module + "/broker/embedded", true},
		{"sibling listener", upward, "admin", module + "/httpapi", true},
		{"contract from backend", upward, "broker/embedded", module + "/broker", false},
		{"backend from contract", upward, "broker", module + "/broker/embedded", true},
		{"homeless import", upward, "sidecar", module + "/util", true},
		{"test support from the product", upward, "sidecar", module + "/broker/brokertest", true},
		{"harness from the product", upward, "cmd/sidecar", module + "/test/rocketmq", true},
		{"product from a harness", upward, "test/e2e", module + "/sidecar", false},

		{"badger in kv", escaped, "internal/kv", "github.com/dgraph-io/badger/v4", false},
		{"badger in spool", escaped, "spool", "github.com/dgraph-io/badger/v4", true},
		{"badger's options in embedded", escaped, "broker/embedded", "github.com/dgraph-io/badger/v4/options", true},
		{"client in rocketmq", escaped, "broker/rocketmq", "github.com/apache/rocketmq-client-go/v2/producer", false},
		{"client in ackgate", escaped, "ackgate", "github.com/apache/rocketmq-client-go/v2/consumer", true},
		{"fasthttp in push", escaped, "push", "github.com/valyala/fasthttp", false},
		{"fasthttp in spool", escaped, "spool", "github.com/valyala/fasthttp", true},
		{"fasthttp in a bench", escaped, "bench", "github.com/valyala/fasthttp", false},
		{"config in sidecar", escaped, "sidecar", module + "/config", false},
		{"config in forwarder", escaped, "forwarder", module + "/config", true},
		{"testing in the product", escaped, "spool", "testing", true},
		{"a name that only begins alike", escaped, "spool", "github.com/valyala/fasthttpish", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wrong := tt.rule([]pkg{{name: tt.pkg, imports: []string{tt.imp}}})
			if broken := len(wrong) > 0; broken != tt.broken {
				t.Errorf("%s importing %s: %q, broken should be %v", tt.pkg, tt.imp, wrong, tt.broken)
			}
		})
	}
}

func TestAnUnknownPackageIsToldWhereToGo(t *testing.T) {
	wrong := unhoused([]pkg{{name: "util"}})
	if len(wrong) != 1 || !strings.Contains(wrong[0], "internal/archtest/rooms_test.go") {
		t.Errorf("%q does not say where a room is given", wrong)
	}
}

func TestRuleSeesMissingDocs(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"documented", map[string]string{"doc.go": "// Package spool keeps.\npackage spool"}, ""},
		{"a command", map[string]string{"doc.go": "// Sidecar runs.\npackage main"}, ""},
		{"no file", map[string]string{"spool.go": "// Package spool keeps.\npackage spool"}, "no doc.go"},
		{"no doc", map[string]string{"doc.go": "package spool"}, "does not open"},
		{"a command with no doc", map[string]string{"doc.go": "package main"}, "no package doc"},
		{"detached", map[string]string{"doc.go": "// Package spool keeps.\n\npackage spool"}, "does not open"},
		{"another name", map[string]string{"doc.go": "// Package store keeps.\npackage spool"}, "does not open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := undocumented("spool", tt.files)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestRuleSeesEveryWayToCommit(t *testing.T) {
	tests := []struct {
		name, body string
		want       bool
	}{
		{"commit", "func f() { txn.Commit() }", true},
		{"commit of a field", "func f() { s.txn.Commit() }", true},
		{"update", "func f() { db.Update(nil) }", true},
		{"write batch", "func f() { db.NewWriteBatch() }", true},
		{"method value", "func f() { g := db.Update; g(nil) }", true},
		{"checksum", "import \"hash/crc32\"\nfunc f() { crc32.Update(0, nil, nil) }", false},
		{"reading", "func f() { db.View(nil) }", false},
		{"own declaration", "func (c *c) Commit() {}", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := committing(map[string]string{"a.go": "package kv\n" + tt.body, "a_test.go": "package kv\nfunc f() { txn.Commit() }"})
			if err != nil {
				t.Fatal(err)
			}
			if found := slices.Equal(got, []string{"a.go"}); found != tt.want || len(got) > 1 {
				t.Errorf("found %q, want it seen: %v", got, tt.want)
			}
		})
	}
}

func TestRuleSeesSkippedTests(t *testing.T) {
	tests := []struct {
		name, file, body string
		want             int
	}{
		{"skip", "a_test.go", `t.Skip("no broker")`, 1},
		{"skip by format", "a_test.go", `t.Skipf("no %s", x)`, 1},
		{"skip now", "a_test.go", `tb.SkipNow()`, 1},
		{"fail", "a_test.go", `t.Fatal("no broker")`, 0},
		{"no test", "a.go", `cursor.Skip(3)`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := skipping("spool", map[string]string{tt.file: "package spool\nfunc f() { " + tt.body + " }"})
			if err != nil || len(got) != tt.want {
				t.Errorf("%q, %v, want %d findings", got, err, tt.want)
			}
		})
	}
}

func TestRuleSeesHeaps(t *testing.T) {
	files := map[string]string{"heap.go": strings.Repeat("\n", heapLines+1), "full.go": strings.Repeat("\n", heapLines)}
	if got := heaps("spool", files); len(got) != 1 || !strings.Contains(got[0], "spool/heap.go has 501 lines") {
		t.Errorf("%q, want only heap.go", got)
	}
}
