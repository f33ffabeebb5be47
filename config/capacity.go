package config

import (
	"fmt"
	"strconv"
	"strings"
)

// ReserveAuto is spool.reserve where the measured formula shall decide.
const ReserveAuto = "auto"

// ReserveSize is spool.reserve in bytes; auto: the measured formula decides.
func (s Spool) ReserveSize() (size Size, auto bool, err error) {
	if s.Reserve == ReserveAuto {
		return 0, true, nil
	}
	if err := size.UnmarshalText([]byte(s.Reserve)); err != nil {
		return 0, false, fmt.Errorf("%w; or %s", err, ReserveAuto)
	}
	return size, false, nil
}

// Share is spool.topic_share as a part of 1.
func (s Spool) Share() (float64, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(s.TopicShare), "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !ok || err != nil || !(n > 0 && n <= 100) {
		return 0, fmt.Errorf("%q is not a share; write a part of the limit, above 0%% and up to 100%%, as 50%%", s.TopicShare)
	}
	return n / 100, nil
}
