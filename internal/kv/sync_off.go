//go:build remora_nosync

package kv

const syncWrites = false
