package rocketmq

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var installOnce sync.Once

// install sets the library's globals, before the first client exists: it reads
// them without synchronisation. Without a panic handler a panic in one of its
// goroutines ends the process (primitive/base.go:88-101).
func install(log *slog.Logger) {
	installOnce.Do(func() {
		primitive.PanicHandler = func(v any) {
			log.Error("rocketmq client panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
		rlog.SetLogger(libraryLog{log.With("component", "rocketmq-client-go")})
	})
}

// libraryLog adapts the library's log. Its fields hold whole messages, of which
// nothing may reach a log, and pointers to structs that others are changing; so
// only plain values pass. Its Fatal ends the process; ours does not.
type libraryLog struct{ log *slog.Logger }

// promoted lines report what an operator has to know.
var promoted = []string{
	offsetIllegal, // consumption jumps, perhaps over messages
}

// demoted lines repeat during an outage, when we log ourselves what matters, or
// say that all is well.
var demoted = []string{
	"query topic route from server error", "queryTopicRouteInfoFromServer return nil",
	"topic route info is nil or empty", "connect to namesrv failed.", "send heart beat to broker error",
	"conn error, close connection", "pull message from broker error", "no broker found for mq",
	"get consumer list of group from broker error", "do balance in group failed, get consumer id list failed",
	"do balance in group failed, the topic does not exist", "update offset to broker error",
	"the cached message count exceeds the threshold, so do flow control",
	"the cached message size exceeds the threshold, so do flow control",
	"the queue's messages span too long, so do flow control",
	"processQueue is dropped without process consume result.", "consumer state error",
}

func (l libraryLog) write(level slog.Level, msg string, fields map[string]any) {
	switch {
	case slices.Contains(promoted, msg):
		level = slog.LevelError
	case slices.Contains(demoted, msg):
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, len(fields))
	for name, value := range fields {
		if a, ok := plainAttr(name, value); ok {
			attrs = append(attrs, a)
		}
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return cmp.Compare(a.Key, b.Key) })
	l.log.LogAttrs(ctx, level, shorten(msg), attrs...)
}

func plainAttr(name string, value any) (slog.Attr, bool) {
	switch name {
	case "message", "messages", "msg":
		return slog.Attr{}, false
	}
	switch v := value.(type) {
	case string:
		return slog.String(name, shorten(v)), true
	case error:
		return slog.String(name, shorten(v.Error())), true
	case bool, int, int16, int32, int64, uint32, uint64, float64:
		return slog.Any(name, v), true
	case *primitive.MessageQueue:
		if v != nil {
			return slog.String(name, v.Topic+"@"+queueName(v)), true
		}
	}
	return slog.Attr{}, false
}

const maxLogged = 512 // bytes of one text

func shorten(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	cut := maxLogged
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func (l libraryLog) Debug(string, map[string]any) {}

func (l libraryLog) Info(msg string, f map[string]any) { l.write(slog.LevelDebug, msg, f) }

func (l libraryLog) Warning(msg string, f map[string]any) {
	if msg == offsetIllegal {
		jumps.heard(f)
	}
	l.write(slog.LevelWarn, msg, f)
}

func (l libraryLog) Error(msg string, f map[string]any) { l.write(slog.LevelError, msg, f) }
func (l libraryLog) Fatal(msg string, f map[string]any) { l.write(slog.LevelError, msg, f) }

// Level and OutputPath are not ours to change.
func (l libraryLog) Level(string)            {}
func (l libraryLog) OutputPath(string) error { return nil }
