package push

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// readAgain is how old what is known of a file of secrets may be.
const readAgain = 2 * time.Second

// Signer signs calls by Standard Webhooks, with each of the secrets that are in
// its file: one, or two while one replaces the other. It reads the file again when
// it is used and 2 s have passed, so a change needs no restart. While what is there
// cannot be read as secrets, those before go on. Methods may be called from many
// goroutines.
type Signer struct {
	path    string
	now     func() time.Time
	secrets atomic.Pointer[[][]byte]

	reading sync.Mutex // held by the one who reads
	read    time.Time
}

// OpenSigner reads the secrets in the file. An error tells file and line, and
// nothing of what is there.
func OpenSigner(path string) (*Signer, error) {
	s := &Signer{path: path, now: time.Now}
	secrets, err := readSecrets(path)
	if err != nil {
		return nil, err
	}
	s.secrets.Store(&secrets)
	s.read = s.now()
	return s, nil
}

// current returns the secrets that sign now. An error says why they are those from
// before: it is returned to one caller each time that the file was read.
func (s *Signer) current() ([][]byte, error) {
	err := s.refresh()
	return *s.secrets.Load(), err
}

func (s *Signer) refresh() error {
	if !s.reading.TryLock() {
		return nil
	}
	defer s.reading.Unlock()
	now := s.now()
	if now.Sub(s.read) < readAgain {
		return nil
	}
	s.read = now
	secrets, err := readSecrets(s.path)
	if err != nil {
		return err
	}
	s.secrets.Store(&secrets)
	return nil
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
