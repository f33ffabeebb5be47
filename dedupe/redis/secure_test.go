package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/test/server"
)

// The commands that doc.go names are all that a user needs.
func TestUserOfAccessControl(t *testing.T) {
	const password = "p@ss:/#%w?rd"
	redis := server.Redis(t, strings.Fields("--user default off --user sidecar on >"+password+
		" ~remora:dedupe:* -@all +eval +evalsha +get +set +exists +pttl +ping")...)
	s := open(t, Options{URL: "redis://" + url.UserPassword("sidecar", password).String() + "@" + redis.Addr()})
	m := begin(t, s)
	for what, err := range map[string]error{
		"extend": s.Extend(t.Context(), key, m, time.Minute), "release": s.Release(t.Context(), key, m, true),
		"forget": s.Forget(t.Context(), key, m), "done": s.Done(t.Context(), key, m),
	} {
		if err != nil && !errors.Is(err, dedupe.ErrFenced) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range byte(maxDone + 2) { // more than are in one mark
		m, err := s.Begin(t.Context(), key, dedupe.Fingerprint{9, n}, time.Minute)
		if err == nil {
			err = s.Done(t.Context(), key, m)
		}
		if err != nil {
			t.Errorf("content %d: %v", n, err)
		}
	}
	if m, err := s.Begin(t.Context(), key, dedupe.Fingerprint{9}, time.Minute); err != nil || m.Verdict != dedupe.Repeat {
		t.Errorf("the first content: %v, %v", m.Verdict, err)
	}
	weak, err := s.Inspect(t.Context())
	if err != nil || len(weak) != 2 || !strings.Contains(weak[0].Text, "does not say") {
		t.Errorf("inspect: %v, %v", weak, err)
	}
	wrong := open(t, Options{URL: "redis://sidecar:geheim@" + redis.Addr()})
	if _, err := wrong.Begin(t.Context(), key, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) || strings.Contains(err.Error(), "geheim") {
		t.Errorf("wrong password: %v", err)
	}
}

func TestInspect(t *testing.T) {
	redis := server.Redis(t)
	client := clientOf(t, redis)
	s := open(t, Options{URL: urlOf(redis)})
	for _, tt := range []struct{ setting, value, says string }{
		{"", "", ""},
		{"appendfsync", "everysec", "appendfsync everysec"},
		{"appendfsync", "always", ""},
		{"maxmemory-policy", "allkeys-lru", "maxmemory-policy allkeys-lru"},
		{"maxmemory-policy", "noeviction", ""},
		{"appendonly", "no", "no append-only file"},
	} {
		if tt.setting != "" {
			if err := client.ConfigSet(t.Context(), tt.setting, tt.value).Err(); err != nil {
				t.Fatal(err)
			}
		}
		weak, err := s.Inspect(t.Context())
		switch {
		case err != nil:
			t.Errorf("%s %s: %v", tt.setting, tt.value, err)
		case tt.says == "" && len(weak) != 0, tt.says != "" && (len(weak) != 1 || !strings.Contains(weak[0].Text, tt.says)):
			t.Errorf("%s %s: %v", tt.setting, tt.value, weak)
		}
	}
	redis.Kill()
	if _, err := s.Inspect(t.Context()); !errors.Is(err, dedupe.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
}

// A server that wants a certificate of its clients gets it, and one that others
// have signed is not spoken to.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, pool := certificate(t, cert, key)
	ours := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	redis := server.RedisTLS(t, cert, key, cert, ours)
	s := open(t, Options{URL: "rediss://" + redis.Addr(), TLS: ours})
	begin(t, s)
	for what, o := range map[string]Options{
		"not trusted": {URL: "rediss://" + redis.Addr()},
		"plain":       {URL: "redis://" + redis.Addr(), TLS: ours},
		"no certificate of ours": {URL: "rediss://" + redis.Addr(), TLS: &tls.Config{
			RootCAs: pool, MinVersion: tls.VersionTLS12,
		}},
	} {
		if _, err := open(t, o).Begin(t.Context(), dedupe.Key{Key: what}, effect, time.Minute); !errors.Is(err, dedupe.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// certificate writes one that has signed itself, for 127.0.0.1.
func certificate(t *testing.T, certFile, keyFile string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pair, pool
}
