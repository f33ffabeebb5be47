package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Formats of a log line.
const (
	FormatJSON = "json"
	FormatText = "text"
)

// LogOptions says what is logged and how.
type LogOptions struct {
	// Level is the lowest level that is logged: debug, info, warn or error.
	// Empty means info.
	Level string
	// Format is json (one object a line) or text (key=value). Empty means json.
	Format string
}

// NewLogger returns a logger that writes one line a record to w and redacts
// as Redact says. It does not touch slog's default logger.
func NewLogger(w io.Writer, opts LogOptions) (*slog.Logger, error) {
	level, err := parseLevel(opts.Level)
	if err != nil {
		return nil, err
	}
	handler := slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		return withUnit(Redact(groups, a))
	}}
	switch opts.Format {
	case FormatJSON, "":
		return slog.New(slog.NewJSONHandler(w, &handler)), nil
	case FormatText:
		return slog.New(slog.NewTextHandler(w, &handler)), nil
	}
	return nil, fmt.Errorf("log format %q is not known: use json or text", opts.Format)
}

func parseLevel(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info", "":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is not known: use debug, info, warn or error", name)
}

// withUnit writes a duration as it is read, 31.8ms, because slog's JSON has
// nanoseconds without a unit (log/slog/json_handler.go, appendJSONValue).
func withUnit(a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case time.Duration:
		return slog.String(a.Key, short(v))
	case []time.Duration:
		texts := make([]string, len(v))
		for i, d := range v {
			texts[i] = short(d)
		}
		return slog.Any(a.Key, texts)
	}
	return a
}

// short keeps about three digits.
func short(d time.Duration) string {
	unit := time.Nanosecond
	for d.Abs() >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}
