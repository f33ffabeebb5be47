package telemetry

import (
	"fmt"
	"io"
	"log/slog"
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
	handler := slog.HandlerOptions{Level: level, ReplaceAttr: Redact}
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
