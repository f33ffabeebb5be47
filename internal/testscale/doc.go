// Package testscale says how long the crash and fault tests run.
//
// The environment variable REMORA_TEST_LONG names a place between the short
// form, which is part of every check (unset, or 0), and the long form (1) whose
// counts docs/reliability.md publishes: 0.1 is a tenth of the way.
//
// REMORA_SEED repeats the schedule of a run that chance made, and gives another one
// to those that are the same each time.
package testscale
