package duration

import (
	"strconv"
	"strings"
	"time"
)

// Parse reads what time.ParseDuration does, and whole days, as 7d.
func Parse(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(text)
}
