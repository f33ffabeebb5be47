package kv

func runChild(mode, dir string) int { return 2 }
