package telemetry

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// secretWords are parts of an attribute's key that mark its value as one that
// must not be printed.
var secretWords = []string{"body", "payload", "token", "secret", "password", "authorization", "encryption_key"}

// printableSuffixes are ends of a key that name a fact about a secret, not the
// secret: body_bytes is a size, token_file is a path.
var printableSuffixes = []string{"_bytes", "_size", "_file", "_count", "_digest"}

// Redact is a slog ReplaceAttr that keeps message bodies and secrets out of
// the log. It replaces
//   - any value under a key that names a body or a secret,
//   - any []byte, whatever its key: bodies travel as []byte,
//   - any struct, map or slice that does not say itself how it is printed,
//     because a handler would print its fields, a body among them.
//
// The replacement tells the size or the type, which is what a reader needs.
func Redact(_ []string, attr slog.Attr) slog.Attr {
	value := attr.Value.Any()
	switch {
	case namesSecret(attr.Key):
		attr.Value = slog.StringValue(describe(value))
	case attr.Value.Kind() == slog.KindAny && !printable(value):
		attr.Value = slog.StringValue(describe(value))
	}
	return attr
}

func namesSecret(key string) bool {
	key = strings.ToLower(key)
	for _, suffix := range printableSuffixes {
		if strings.HasSuffix(key, suffix) {
			return false
		}
	}
	for _, word := range secretWords {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// printable says whether a handler may print a value of slog's kind Any.
func printable(value any) bool {
	switch value.(type) {
	case nil, error, *slog.Source, []string, []time.Duration:
		return true
	case json.RawMessage:
		return false
	case fmt.Stringer, encoding.TextMarshaler:
		return true
	}
	switch reflect.TypeOf(value).Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return true
	default:
		return false
	}
}

func describe(value any) string {
	switch value := value.(type) {
	case string:
		return fmt.Sprintf("[redacted, %d bytes]", len(value))
	case []byte:
		return fmt.Sprintf("[redacted, %d bytes]", len(value))
	}
	return fmt.Sprintf("[redacted, %T]", value)
}
