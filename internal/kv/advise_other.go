//go:build !linux

package kv

func adviseRandom(string) error { return nil }
