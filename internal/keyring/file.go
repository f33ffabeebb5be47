package keyring

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// maxKeys is more than are ever in use at once.
const maxKeys = 16

// Read reads a file of keys; see [Parse].
func Read(path string) (*Ring, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := Parse(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Parse reads keys: one a line, 32 bytes in hex or base64, the current one
// first. Empty lines, and what follows a #, are left out. No error repeats what
// is in the text.
func Parse(text string) (*Ring, error) {
	r := &Ring{}
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		secret, ok := decode(line)
		if !ok {
			return nil, fmt.Errorf("line %d is not a key: write 32 bytes as 64 hex digits or in base64, as openssl rand -hex 32 makes them", n+1)
		}
		k := newKey(secret)
		if r.find(k.id) != nil {
			return nil, fmt.Errorf("line %d repeats key %s; take one of them out", n+1, k.id)
		}
		r.keys = append(r.keys, k)
	}
	switch {
	case len(r.keys) == 0:
		return nil, fmt.Errorf("there is no key in it: write one, 32 bytes as 64 hex digits, as openssl rand -hex 32 makes them")
	case len(r.keys) > maxKeys:
		return nil, fmt.Errorf("there are %d keys in it, at most %d are read; take the oldest out, if they are not needed any more", len(r.keys), maxKeys)
	}
	return r, nil
}

func decode(line string) (secret []byte, ok bool) {
	secret, err := hex.DecodeString(line)
	if err != nil {
		secret, err = base64.StdEncoding.DecodeString(line)
	}
	return secret, err == nil && len(secret) == keySize
}
