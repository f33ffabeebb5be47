package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// span is the numbers from first to last.
type span struct{ first, last uint64 }

// spans are numbers: ascending, none touches the next one.
type spans []span

// spansOf puts spans in order and joins them.
func spansOf(all []span) (out spans) {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for _, s := range all {
		if k := len(out); k > 0 && s.first <= out[k-1].last+1 {
			out[k-1].last = max(out[k-1].last, s.last)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// minus returns the numbers that are in s and not in others.
func (s spans) minus(others spans) (out spans) {
	i := 0
	for _, left := range s {
		for ; i < len(others) && others[i].last < left.first; i++ {
		}
		for j := i; j < len(others) && others[j].first <= left.last; j++ {
			if others[j].first > left.first {
				out = append(out, span{left.first, others[j].first - 1})
			}
			left.first = others[j].last + 1
		}
		if left.first <= left.last {
			out = append(out, left)
		}
	}
	return out
}

// within returns the numbers from first to last.
func (s spans) within(first, last uint64) (out spans) {
	if first > last {
		return nil
	}
	for _, x := range s {
		if x.last >= first && x.first <= last {
			out = append(out, span{max(x.first, first), min(x.last, last)})
		}
	}
	return out
}

func (s spans) count() (n uint64) {
	for _, x := range s {
		n += x.last - x.first + 1
	}
	return n
}

// String is as the admin API reads numbers.
func (s spans) String() string {
	parts := make([]string, len(s))
	for i, x := range s {
		parts[i] = strconv.FormatUint(x.first, 10)
		if x.last > x.first {
			parts[i] = fmt.Sprintf("%d-%d", x.first, x.last)
		}
	}
	return strings.Join(parts, ",")
}
