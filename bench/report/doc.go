// Package report turns measurements into one page: a table a figure, and the
// ratios with their targets. Machines differ and drift, so only ratios are
// judged, each taken within a round, and of them the median over the rounds.
//
// It does no I/O but writing the page.
package report
