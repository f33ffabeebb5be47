package push

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// secretPrefix begins a symmetric secret of Standard Webhooks.
const secretPrefix = "whsec_"

// Sizes that Standard Webhooks asks of a secret, in bytes.
const minSecret, maxSecret = 24, 64

// maxSecrets: one, or two while one replaces the other.
const maxSecrets = 2

// readSecrets reads a file of signing secrets; see [parseSecrets].
func readSecrets(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secrets, err := parseSecrets(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s%w", path, err)
	}
	return secrets, nil
}

// parseSecrets reads one or two secrets, one a line. Empty lines, and what follows
// a #, are left out. An error begins with the place; none repeats what is in the
// text.
func parseSecrets(text string) ([][]byte, error) {
	var secrets [][]byte
	lines := map[string]int{}
	for i, line := range strings.Split(text, "\n") {
		n := i + 1
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		secret, err := parseSecret(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf(":%d: %w", n, err)
		case lines[string(secret)] > 0:
			return nil, fmt.Errorf(":%d: the secret of line %d once more; take one of them out", n, lines[string(secret)])
		case len(secrets) == maxSecrets:
			return nil, fmt.Errorf(":%d: a third secret; at most two sign at a time, take the oldest out", n)
		}
		lines[string(secret)] = n
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf(": there is no secret in it; write %s and 32 random bytes in base64, as: echo %[1]s$(openssl rand -base64 32)", secretPrefix)
	}
	return secrets, nil
}

func parseSecret(line string) ([]byte, error) {
	encoded, found := strings.CutPrefix(line, secretPrefix)
	if !found {
		return nil, fmt.Errorf("not a signing secret: write %s and %d to %d bytes in base64, as: echo %[1]s$(openssl rand -base64 32)", secretPrefix, minSecret, maxSecret)
	}
	secret, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case err != nil:
		return nil, fmt.Errorf("what follows %s is not base64 with its padding", secretPrefix)
	case len(secret) < minSecret || len(secret) > maxSecret:
		return nil, fmt.Errorf("the secret has %d bytes; Standard Webhooks asks for %d to %d", len(secret), minSecret, maxSecret)
	}
	return secret, nil
}
