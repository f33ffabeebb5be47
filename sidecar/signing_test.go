package sidecar_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/remora-mq/remora/sidecar"
)

// TestDeliveriesAreSigned: a handler that knows the secret takes the call for the
// sidecar's, and a file that is none keeps the sidecar from starting.
func TestDeliveriesAreSigned(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	verdict := make(chan error, 1)
	c := embedded(t)
	billing := subscription("billing", "orders", handler(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		verdict <- hook.Verify(body, r.Header)
	}))
	billing.SigningSecretFile = filepath.Join(t.TempDir(), "secret")
	c.Subscriptions = append(c.Subscriptions, billing)
	if _, err := sidecar.New(c, "test", nil); err == nil || !strings.Contains(err.Error(), "subscriptions[0].signing_secret_file") {
		t.Errorf("started without its secret: %v", err)
	}
	if err := os.WriteFile(billing.SigningSecretFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, c)
	r.post("orders", "hello", "")
	if err := <-verdict; err != nil {
		t.Errorf("the handler refuses the signature: %v", err)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
