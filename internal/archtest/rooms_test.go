package archtest

import (
	"path"
	"strings"
)

const module = "github.com/remora-mq/remora"

// A room is where a package lives: the floor it stands on. A package imports
// only from floors below its own.
type room struct {
	floor int
	// apart marks what checks or shows the product and is no part of it: it
	// may import anything, and nothing of the product imports it.
	apart bool
}

// floors from the ground up. A name ending in /* holds the folders directly
// below, not the folder itself; one ending in /... holds the folder and
// everything below. apart is asked first.
var floors = [][]string{
	{"internal/duration"},
	{"message", "config", "api", "internal/kv", "internal/lifecycle", "internal/telemetry", "internal/backoff",
		"internal/problem", "internal/keyring", "internal/volume", "internal/heap", "internal/reread", "internal/giving"},
	// httpguard refuses with a problem, so it stands above it.
	{"broker", "dedupe", "push", "internal/httpguard", "internal/wire"},
	{"spool", "broker/*", "dedupe/*", "deadletter/*", "seen"},
	{"forwarder", "transaction", "ackgate", "deadletter"},
	{"httpapi", "admin"},
	{"sidecar"},
	{"cmd/sidecar"},
}

var apart = []string{
	"internal/archtest", "internal/testscale", "deploy", "docs", "bench/...", "examples/...", "test/...",
	"broker/brokertest", "dedupe/dedupetest",
}

// confined says which rooms may import a library, by the start of its path.
// Rooms apart may import any.
var confined = map[string][]string{
	"github.com/dgraph-io/badger":             {"internal/kv"},
	"github.com/apache/rocketmq-client-go":    {"broker/rocketmq"},
	"github.com/valyala/fasthttp":             {"httpapi", "admin", "push", "cmd/sidecar"},
	"github.com/spf13/cobra":                  {"cmd/sidecar"},
	"github.com/goccy/go-yaml":                {"config", "cmd/sidecar"},
	"github.com/redis/go-redis":               {"dedupe/redis"},
	"github.com/jackc/pgx":                    {"dedupe/sql"},
	"github.com/go-sql-driver/mysql":          {"dedupe/sql"},
	module + "/config":                        {"sidecar", "cmd/sidecar"},
	"crypto/aes":                              {"internal/keyring"},
	"crypto/cipher":                           {"internal/keyring"},
	"github.com/rogpeppe/go-internal":         {},
	"github.com/anishathalye/porcupine":       {},
	"pgregory.net/rapid":                      {},
	"go.uber.org/goleak":                      {},
	"github.com/hanwen/go-fuse":               {},
	"github.com/getkin/kin-openapi":           {},
	"github.com/HdrHistogram/hdrhistogram-go": {},
	"testing": {},
}

// roomOf finds the room of a package by its path below the module.
func roomOf(name string) (room, bool) {
	if listed(apart, name) {
		return room{apart: true}, true
	}
	for floor, names := range floors {
		if listed(names, name) {
			return room{floor: floor}, true
		}
	}
	return room{}, false
}

func listed(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if folder, ok := strings.CutSuffix(pattern, "/..."); ok && within(name, folder) {
			return true
		}
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

// within says whether a path is the given folder or one below it; a later
// major version of a library is below it.
func within(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, folder)
	return ok && (rest == "" || rest[0] == '/')
}
