package sidecar

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/push"
)

// secrets are the contents of the files that the configuration names.
type secrets struct {
	dataTokens, adminTokens []string
	broker                  *brokerKeys
	redisURL, sqlDSN        string
	redisTLS                *tls.Config   // nil: nothing is configured of it
	keys                    *keyring.Ring // nil: nothing is encrypted
	signers                 signers
}

// signers are those of the subscriptions that sign, by name.
type signers map[string]*push.Signer

// ErrKeyFile reports that spool.encryption_key_file cannot be read as keys.
var ErrKeyFile = errors.New("read spool.encryption_key_file")

func readSecrets(cfg config.Config) (s secrets, err error) {
	if s.dataTokens, err = readTokens("listen.token_file", cfg.Listen.TokenFile); err != nil {
		return s, err
	}
	if s.adminTokens, err = readTokens("listen.admin_token_file", cfg.Listen.AdminTokenFile); err != nil {
		return s, err
	}
	if s.broker, err = openBrokerKeys(cfg.Broker.RocketMQ); err != nil {
		return s, err
	}
	if s.redisURL, err = readSecret("dedupe.redis.url_file", cfg.Dedupe.Redis.URLFile); err != nil {
		return s, err
	}
	if s.sqlDSN, err = readSecret("dedupe.sql.dsn_file", cfg.Dedupe.SQL.DSNFile); err != nil {
		return s, err
	}
	if s.redisTLS, err = redisTLS(cfg.Dedupe.Redis); err != nil {
		return s, err
	}
	if s.signers, err = openSigners(cfg.Subscriptions); err != nil {
		return s, err
	}
	if path := cfg.Spool.EncryptionKeyFile; path != "" {
		if s.keys, err = keyring.Read(path); err != nil {
			return s, fmt.Errorf("%w: %w", ErrKeyFile, err)
		}
	}
	return s, nil
}

func openSigners(subscriptions []config.Subscription) (signers, error) {
	all := signers{}
	for i, c := range subscriptions {
		if c.SigningSecretFile == "" {
			continue
		}
		signer, err := push.OpenSigner(c.SigningSecretFile)
		if err != nil {
			return nil, fmt.Errorf("read subscriptions[%d].signing_secret_file: %w", i, err)
		}
		all[c.Name] = signer
	}
	return all, nil
}

// readTokens reads one token a line, two while one replaces the other.
func readTokens(key, path string) ([]string, error) {
	text, err := readSecret(key, path)
	return strings.Fields(text), err
}

// readSecret returns what is in the file, without blanks around it; "" when no
// file is named.
func readSecret(key, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("read %s: %s is empty; write the secret into it, or leave the key out", key, path)
	}
	return text, nil
}
