package telemetry_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/telemetry"
)

const canary = "canary-7f3a"

func TestBodiesAreNeverLogged(t *testing.T) {
	type message struct{ Body []byte }
	hidden := []slog.Attr{
		slog.Any("body", []byte(canary)),
		slog.String("body", canary),
		slog.String("response_body", canary),
		slog.String("authorization", "Bearer "+canary),
		slog.String("PASSWORD", canary), //nolint:sloglint // keys of other people's libraries are not ours to name
		slog.String("admin_token", canary),
		slog.Any("data", []byte(canary)),
		slog.Any("message", message{Body: []byte(canary)}),
		slog.Any("message", &message{Body: []byte(canary)}),
		slog.Any("messages", []message{{Body: []byte(canary)}}),
		slog.Any("fields", map[string]any{"x": canary}),
		slog.Any("raw", json.RawMessage(`"`+canary+`"`)),
		slog.Group("request", slog.Any("body", []byte(canary))),
	}
	for _, format := range []string{telemetry.FormatJSON, telemetry.FormatText} {
		for _, attr := range hidden {
			t.Run(format+"/"+attr.Key, func(t *testing.T) {
				requireNoCanary(t, logged(t, format, attr))
			})
		}
	}
}

func requireNoCanary(t *testing.T, line string) {
	t.Helper()
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	if strings.Contains(line, canary) || strings.Contains(line, encoded) {
		t.Errorf("the body was logged: %s", line)
	}
	if !strings.Contains(line, "redacted") {
		t.Errorf("the line does not say that something was left out: %s", line)
	}
}

func TestPlainFactsAreLogged(t *testing.T) {
	tests := []struct {
		attr slog.Attr
		want string
	}{
		{slog.String("topic", "orders"), `"topic":"orders"`},
		{slog.Int("body_bytes", 12), `"body_bytes":12`},
		{slog.String("token_file", "/etc/remora/token"), `"token_file":"/etc/remora/token"`},
		{slog.Any("error", errors.New("disk is gone")), `"error":"disk is gone"`},
		{slog.Duration("took", time.Second), `"took":"1s"`},
		{slog.Duration("commit_took", 31_820_123), `"commit_took":"31.8ms"`},
		{slog.Any("waits", []time.Duration{time.Second, 2 * time.Minute}), `"waits":["1s","2m0s"]`},
		{slog.Any("addr", netip.MustParseAddrPort("127.0.0.1:7600")), `"addr":"127.0.0.1:7600"`},
		{slog.Any("degraded", []string{"broker"}), `"degraded":["broker"]`},
		{slog.Any("nothing", nil), `"nothing":null`},
	}
	for _, tt := range tests {
		t.Run(tt.attr.Key, func(t *testing.T) {
			if line := logged(t, telemetry.FormatJSON, tt.attr); !strings.Contains(line, tt.want) {
				t.Errorf("line %s does not contain %s", line, tt.want)
			}
		})
	}
}

func logged(t *testing.T, format string, attr slog.Attr) string {
	t.Helper()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, telemetry.LogOptions{Format: format})
	if err != nil {
		t.Fatal(err)
	}
	log.LogAttrs(t.Context(), slog.LevelInfo, "seen", attr)
	return out.String()
}

func TestLevelDecidesWhatIsLogged(t *testing.T) {
	tests := []struct {
		level string
		lines int
	}{{"", 3}, {"debug", 4}, {"info", 3}, {"warn", 2}, {"error", 1}}
	for _, tt := range tests {
		t.Run("level "+tt.level, func(t *testing.T) {
			var out bytes.Buffer
			log, err := telemetry.NewLogger(&out, telemetry.LogOptions{Level: tt.level})
			if err != nil {
				t.Fatal(err)
			}
			log.Debug("a")
			log.Info("b")
			log.Warn("c")
			log.Error("d")
			if got := strings.Count(out.String(), "\n"); got != tt.lines {
				t.Errorf("%d lines, want %d", got, tt.lines)
			}
		})
	}
}

func TestUnknownOptionsAreRefused(t *testing.T) {
	for _, opts := range []telemetry.LogOptions{{Level: "verbose"}, {Level: "INFO"}, {Format: "xml"}} {
		if _, err := telemetry.NewLogger(&bytes.Buffer{}, opts); err == nil || !strings.Contains(err.Error(), "use ") {
			t.Errorf("%+v: error = %v, want one that says what to use", opts, err)
		}
	}
}

func TestRegistriesAreApart(t *testing.T) {
	for range 2 {
		families, err := telemetry.NewRegistry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		if !hasFamily(families, "go_goroutines") || !hasFamily(families, "process_open_fds") {
			t.Errorf("%d families, want those of the runtime and of the process", len(families))
		}
	}
}

func hasFamily[F interface{ GetName() string }](families []F, name string) bool {
	for _, family := range families {
		if family.GetName() == name {
			return true
		}
	}
	return false
}
