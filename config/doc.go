// Package config is the sidecar's configuration: one struct, its defaults, and
// how a file, the environment and flags change them.
//
// # Layers
//
// Defaults, then the YAML file, then REMORA_A_B of the environment, then
// --set a.b=c; a later one wins. In values of the file ${NAME} is replaced by
// the environment's, after parsing, so that a value can never become a key;
// ${NAME:-text} gives a fallback and $${ a literal ${.
//
// # Promises
//
// Nothing is ignored: an unknown key, a value without its unit, a value that is
// out of range, and a key that this version cannot honour are problems. All of
// them are reported at once, each with where it was written and what to write
// instead. An unknown REMORA_ variable is only a warning, because Kubernetes
// makes some for a service of that name.
//
// The package opens no file but the configuration. Values are plain; a loaded
// Config may be read from many goroutines.
package config
