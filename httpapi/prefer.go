package httpapi

import (
	"strconv"
	"strings"
	"time"
)

// readWait reads Prefer: wait=N (RFC 7240; N in seconds, or with a unit) and
// its query twin. Other preferences are ignored, as the RFC wants.
func readWait(r *request, p *publication) error {
	wishes := append(waitsOf(r.fields.values(nil, namePrefer)), r.query["wait"]...)
	for i, wish := range wishes {
		wait, err := parseWait(wish)
		switch {
		case err != nil:
			return err
		case i > 0 && wait != p.wait:
			return disagree(namePrefer)
		}
		p.wait = wait
	}
	return nil
}

// waitsOf returns the values of wait in Prefer headers.
func waitsOf(headers []string) []string {
	var waits []string
	for _, h := range headers {
		for preference := range strings.SplitSeq(h, ",") {
			preference, _, _ = strings.Cut(preference, ";") // parameters
			name, value, _ := strings.Cut(preference, "=")
			if strings.EqualFold(strings.TrimSpace(name), "wait") {
				waits = append(waits, strings.Trim(strings.TrimSpace(value), `"`))
			}
		}
	}
	return waits
}

func parseWait(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if seconds, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, nil
	}
	d, err := parseDuration(s)
	if err != nil {
		return 0, invalidOption("the wait %.40q is neither a number of seconds nor a duration, as 5s", s)
	}
	return d, nil
}
