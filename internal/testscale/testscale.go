package testscale

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"sync"
)

// Variable is the name of the environment variable.
const Variable = "REMORA_TEST_LONG"

var place = sync.OnceValue(func() float64 {
	p, err := parse(os.Getenv(Variable))
	if err != nil {
		panic(err)
	}
	return p
})

func parse(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	p, err := strconv.ParseFloat(text, 64)
	if err != nil || !(p >= 0 && p <= 1) {
		return 0, fmt.Errorf("%s=%q is not a number from 0 (the short form) to 1 (the long form)", Variable, text)
	}
	return p, nil
}

// Long reports whether more than the short form was asked for.
func Long() bool { return place() > 0 }

// Between is short in the short form, long in the long form, and in
// proportion between them. Either may be the larger.
func Between(short, long int) int { return between(short, long, place()) }

func between(short, long int, place float64) int {
	return short + int(math.Round(float64(long-short)*place))
}
