//go:build !remora_norewrite

package kv

// rewriteRecovered makes Open write again what it recovered after an unclean
// stop. The build tag remora_norewrite turns it off, only so that the test of
// a failed sync can prove that it sees the difference.
const rewriteRecovered = true
