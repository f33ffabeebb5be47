package rocketmq

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestLibraryLog(t *testing.T) {
	secret := "the body of a message"
	for _, c := range []struct {
		name string
		log  func(libraryLog)
		want string // "" is nothing above debug
	}{
		{"info is debug", func(l libraryLog) { l.Info("started", nil) }, ""},
		{"debug is nothing", func(l libraryLog) { l.Debug("x", nil) }, ""},
		{"repeated in an outage", func(l libraryLog) { l.Error("connect to namesrv failed.", nil) }, ""},
		{"offsets pushed", func(l libraryLog) { l.Info("update offset to broker success", nil) }, ""},
		{"warning", func(l libraryLog) { l.Warning("w", map[string]any{"n": 7, "e": errors.New("why")}) }, "level=WARN msg=w e=why n=7"},
		{"fatal does not end the process", func(l libraryLog) { l.Fatal("f", nil) }, "level=ERROR msg=f"},
		{"consumption jumps", func(l libraryLog) { l.Warning("the pull request offset illegal", nil) }, `level=ERROR msg="the pull request offset illegal"`},
		{"no bodies", func(l libraryLog) {
			l.Error("e", map[string]any{"message": secret, "messages": secret, "msg": secret, "other": []string{secret},
				"ext": &primitive.MessageExt{}, "nil": (*primitive.MessageQueue)(nil),
				"MessageQueue": &primitive.MessageQueue{Topic: "t", BrokerName: "b", QueueId: 3}})
		}, "level=ERROR msg=e MessageQueue=t@b/3"},
		{"no endless lines", func(l libraryLog) { l.Error(strings.Repeat("ä", 1000), nil) }, "level=ERROR msg=" + strings.Repeat("ä", 256) + "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			plain := func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}
			c.log(libraryLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: plain}))})
			if got := strings.TrimSpace(out.String()); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestPanicHandlerIsInstalled(t *testing.T) {
	install(testLog(t))
	primitive.WithRecover(func() { panic("in a goroutine of the library") }) // would end the test
}
