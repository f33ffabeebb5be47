//go:build !remora_nosync

package kv

// syncWrites makes every commit durable before it is answered. The build tag
// remora_nosync turns it off, only so that the power-loss tests can prove that
// they see the difference.
const syncWrites = true
