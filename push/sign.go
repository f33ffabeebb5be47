package push

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/reread"
)

// Signer signs calls by Standard Webhooks, with each of the secrets that are in
// its file: one, or two while one replaces the other. The file is read again when it
// changes. While what is there cannot be read as secrets, those before go on. Methods
// may be called from many goroutines.
type Signer struct {
	now     func() time.Time
	secrets *reread.Value[[][]byte]
}

// OpenSigner reads the secrets in the file. An error tells file and line, and
// nothing of what is there.
func OpenSigner(path string) (*Signer, error) {
	secrets, err := readSecrets(path)
	if err != nil {
		return nil, err
	}
	s := &Signer{now: time.Now}
	again := func([][]byte) ([][]byte, error) { return readSecrets(path) }
	s.secrets = reread.New(secrets, again, func() time.Time { return s.now() })
	return s, nil
}

// sign adds the headers of Standard Webhooks. The id is the same in each call for
// a message, as Idempotency-Key is; the time is that of the call, so that a
// receiver may refuse what is old.
func sign(r *request, secrets [][]byte, call *Call, at time.Time) {
	id := webhookID(call.Delivery.Identity)
	second := strconv.FormatInt(at.Unix(), 10)
	r.add("webhook-id", id)
	r.add("webhook-timestamp", second)
	r.add("webhook-signature", signature(secrets, id, second, call.Delivery.Body))
}

func signature(secrets [][]byte, id, second string, body []byte) string {
	all := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + second + "."))
		mac.Write(body)
		all[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(all, " ")
}

// webhookID is an identity without what a header cannot carry, and without the dot
// that ends it in what is signed.
func webhookID(identity string) string {
	return strings.ReplaceAll(percent(identity), ".", "%2E")
}
