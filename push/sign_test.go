package push

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/remora-mq/remora/internal/reread"
	"github.com/remora-mq/remora/message"
)

// Secrets of 24, 32 and 64 bytes.
var (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xb}, 32))
	secretC = "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xc}, 64))
)

// secretFile writes lines to a file in place of what was there.
func secretFile(t *testing.T, path string, lines ...string) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "secrets")
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openSigner(t *testing.T, path string) *Signer {
	t.Helper()
	s, err := OpenSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSignatureOfTheReference has the vector that the libraries of Standard
// Webhooks test themselves with.
func TestSignatureOfTheReference(t *testing.T) {
	secrets, err := parseSecrets(secretA)
	if err != nil {
		t.Fatal(err)
	}
	got := signature(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

// sendSigned is send with a signer; the logger is told what it cannot read.
func sendSigned(t *testing.T, call *Call, s *Signer, log ...*slog.Logger) received {
	t.Helper()
	o := Options{Signer: s}
	if len(log) > 0 {
		o.Logger = log[0]
	}
	return sendWith(t, call, "/", o)
}

// verified says which of the secrets the library of Standard Webhooks takes the call
// for signed with.
func verified(t *testing.T, call received, secrets ...string) string {
	t.Helper()
	var with []string
	for i, secret := range secrets {
		hook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if hook.Verify(call.body, call.Header) == nil {
			with = append(with, string(rune('A'+i)))
		}
	}
	return strings.Join(with, "")
}

// TestSignedCallsAreVerified: a library that is not ours takes every call for signed,
// with each active secret and no other one, and not when a byte of it is another.
func TestSignedCallsAreVerified(t *testing.T) {
	s := openSigner(t, secretFile(t, "", "# since May", secretA, "", secretB+" # since June"))
	first := aCall("{\"amount\": 12.50}\x00\xff")
	again := *first
	again.ID, again.Attempt = "call-2", 2
	got := sendSigned(t, first, s)
	if with := verified(t, got, secretA, secretB, secretC); with != "AB" {
		t.Errorf("verified with %s, want A and B", with)
	}
	if id := got.Header.Get("webhook-id"); id != first.Delivery.Identity {
		t.Errorf("webhook-id %q of message %s", id, first.Delivery.Identity)
	}
	repeat := sendSigned(t, &again, s)
	if a, b := got.Header.Get("webhook-id"), repeat.Header.Get("webhook-id"); a != b {
		t.Errorf("webhook-id is %q in one call and %q in the next", a, b)
	}
	got.body[0]++
	if with := verified(t, got, secretA, secretB); with != "" {
		t.Errorf("another body is verified with %s", with)
	}
	if none := sendSigned(t, first, nil); none.Header.Get("webhook-signature") != "" || none.Header.Get("webhook-id") != "" {
		t.Errorf("signed without a secret: %v", none.Header)
	}
}

// TestIdentityOfAForeignMessageIsSigned: whatever a foreign producer calls its
// message, the signature is of one id, which ends at the first dot.
func TestIdentityOfAForeignMessageIsSigned(t *testing.T) {
	s := openSigner(t, secretFile(t, "", secretA))
	ids := map[string]bool{}
	for _, identity := range []string{"a.b", "a%2Eb", "a b\r\nX: 1", "é"} {
		got := sendSigned(t, &Call{Delivery: &message.Delivery{Identity: identity}, ID: "c", Attempt: 1}, s)
		id := got.Header.Get("webhook-id")
		if verified(t, got, secretA) != "A" || strings.ContainsAny(id, ". \r\n") || ids[id] {
			t.Errorf("identity %q: webhook-id %q, seen before: %t, headers %v", identity, id, ids[id], got.Header)
		}
		ids[id] = true
	}
}

// TestSecretsChangeWithoutARestart: what replaces the file signs within 2 s, also
// where it is replaced by a rename; what is no file of secrets changes nothing, and
// is said.
func TestSecretsChangeWithoutARestart(t *testing.T) {
	path := secretFile(t, "", secretA)
	s := openSigner(t, path)
	now := time.Now()
	s.now = func() time.Time { return now }
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	wantSigned := func(want string) {
		t.Helper()
		if with := verified(t, sendSigned(t, aCall("x"), s, logger), secretA, secretB, secretC); with != want {
			t.Errorf("signed with %q, want %q", with, want)
		}
	}
	wantSigned("A")
	secretFile(t, path, secretA, secretB)
	wantSigned("A") // is not read for each call
	now = now.Add(reread.Every)
	wantSigned("AB")
	if err := os.Rename(secretFile(t, path+".new", secretB, secretC), path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(reread.Every)
	wantSigned("BC")
	for _, bad := range []string{"", secretA + "x"} {
		secretFile(t, path, bad)
		now = now.Add(reread.Every)
		log.Reset()
		wantSigned("BC")
		if !strings.Contains(log.String(), path) || strings.Contains(log.String(), secretA) {
			t.Errorf("said of a bad file: %q", log.String())
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(reread.Every)
	wantSigned("BC")
	secretFile(t, path, secretC)
	now = now.Add(reread.Every)
	wantSigned("C")
}

// TestFilesOfSecrets: what is wrong is told with its line, and without the secret.
func TestFilesOfSecrets(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		want  string
	}{
		{"none", []string{"", "# nothing"}, ": there is no secret"},
		{"no prefix", []string{"", secretA[len("whsec_"):]}, ":2: not a signing secret"},
		{"private key", []string{"whsk_" + secretA}, ":1: not a signing secret"},
		{"not base64", []string{secretA, secretB + "!"}, ":2: what follows whsec_"},
		{"no padding", []string{strings.TrimRight(secretB, "=")}, ":1: what follows whsec_"},
		{"short", []string{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23))}, ":1: the secret has 23 bytes"},
		{"long", []string{"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))}, ":1: the secret has 65 bytes"},
		{"twice", []string{secretA, secretB, secretA}, ":3: the secret of line 1"},
		{"three", []string{secretA, secretB, secretC}, ":3: a third secret"},
	}
	for _, tt := range tests {
		path := secretFile(t, "", tt.lines...)
		_, err := OpenSigner(path)
		if err == nil || !strings.HasPrefix(err.Error(), path+tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			continue
		}
		for _, secret := range []string{secretA, secretB, secretC} {
			if strings.Contains(err.Error(), secret[len("whsec_"):][:16]) {
				t.Errorf("%s: the error repeats a secret", tt.name)
			}
		}
	}
	if _, err := OpenSigner(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestSigningUnderUse: many calls while the secrets change.
func TestSigningUnderUse(t *testing.T) {
	path := secretFile(t, "", secretA)
	s := openSigner(t, path)
	later := time.Now()
	s.now = func() time.Time { later = later.Add(reread.Every); return later } // always due; asked by the one who reads
	h := serve(t, text(ok))
	c := newClient(t, Options{URL: h.url(), Signer: s})
	done := make(chan string)
	for range 8 {
		go func() {
			for range 50 {
				if a := c.Deliver(within(t, time.Minute), aCall("x")); a.Disposition != Done {
					done <- fmt.Sprintf("answer %+v", a)
					return
				}
			}
			done <- ""
		}()
	}
	for range 20 {
		next := secretFile(t, path+".new", secretB, secretC)
		if err := os.Rename(next, path); err != nil {
			t.Error(err)
		}
	}
	for range 8 {
		if wrong := <-done; wrong != "" {
			t.Error(wrong)
		}
	}
}
