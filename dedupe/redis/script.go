package redis

import (
	_ "embed"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// The scripts, one an operation.
var (
	//go:embed look.lua
	lookSource string
	//go:embed begin.lua
	beginSource string
	//go:embed extend.lua
	extendSource string
	//go:embed done.lua
	doneSource string
	//go:embed release.lua
	releaseSource string
	//go:embed forget.lua
	forgetSource string
	//go:embed convert.lua
	convertSource string

	lookScript    = newScript(lookSource)
	beginScript   = newScript(beginSource)
	extendScript  = newScript(extendSource)
	doneScript    = newScript(doneSource)
	releaseScript = newScript(releaseSource)
	forgetScript  = newScript(forgetSource)
	convertScript = newScript(convertSource)
)

// script is run by its hash, and sent whole to a server that does not know it.
type script struct{ source, hash string }

func newScript(source string) *script {
	return &script{source, goredis.NewScript(source).Hash()}
}

// on is a run of the script on a mark.
func (s *script) on(mark string, args ...any) *question {
	return &question{script: s, command: append([]any{"evalsha", s.hash, 1, mark}, args...)}
}

// isOfEarlierVersion tells a mark that is a hash of Redis by what a script says that
// finds one.
func isOfEarlierVersion(err error) bool { return strings.Contains(err.Error(), "WRONGTYPE") }
