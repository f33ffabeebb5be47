//go:build remora_norewrite

package kv

const rewriteRecovered = false
