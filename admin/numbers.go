package admin

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// maxRanges bounds what one request asks for.
const maxRanges = 1000

// readNumbers reads the numbers of an origin, as 1-40,42; nil: none are asked for.
func readNumbers(origin, numbers string) (*spool.Numbers, *problem.Problem) {
	if origin == "" && numbers == "" {
		return nil, nil
	}
	id, err := parseOrigin(origin)
	if err != nil {
		return nil, problem.New(problem.InvalidOption, "origin: %s", err)
	}
	n := &spool.Numbers{Origin: id}
	last := uint64(0)
	for text := range strings.SplitSeq(numbers, ",") {
		r, err := parseRange(text)
		if err != nil || r.First <= last || r.First > r.Last || len(n.Ranges) == maxRanges {
			return nil, problem.New(problem.InvalidOption, "numbers has %.40q; write at most %d ascending numbers and ranges, as 1-40,42", text, maxRanges)
		}
		n.Ranges, last = append(n.Ranges, r), r.Last
	}
	return n, nil
}

func parseRange(text string) (r spool.NumberRange, err error) {
	first, last, isRange := strings.Cut(text, "-")
	if r.First, err = strconv.ParseUint(first, 10, 64); err != nil || !isRange {
		return spool.NumberRange{First: r.First, Last: r.First}, err
	}
	r.Last, err = strconv.ParseUint(last, 10, 64)
	return r, err
}

func parseOrigin(text string) (id message.SpoolID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%.40q is no origin; it is the ID of a spool, %d hex digits", text, 2*len(id))
	}
	return message.SpoolID(b), nil
}
