package config

import _ "embed"

// Sample is a configuration with every key that is honoured, its default and
// what it means. It is what `config init` writes.
//
//go:embed sample.yaml
var Sample string
