package rocketmq

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RocketMQ's ACL has no other
	"encoding/base64"
	"maps"
	"slices"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// credentials are the keys of RocketMQ's ACL. The zero value signs nothing.
type credentials struct{ accessKey, secretKey string }

func (c credentials) none() bool { return c.accessKey == "" && c.secretKey == "" }

func (c credentials) library() primitive.Credentials {
	return primitive.Credentials{AccessKey: c.accessKey, SecretKey: c.secretKey}
}

// sign adds AccessKey and Signature: HMAC-SHA1 over the values of all fields in
// order of their names, then the body (internal/remote/interceptor.go:41-75,
// AclUtils.combineRequestContent). It does not change the fields it was given.
func (c credentials) sign(cmd *command) {
	if c.none() {
		return
	}
	fields := maps.Clone(cmd.ExtFields)
	if fields == nil {
		fields = map[string]string{}
	}
	fields["AccessKey"] = c.accessKey
	mac := hmac.New(sha1.New, []byte(c.secretKey))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		mac.Write([]byte(fields[name]))
	}
	mac.Write(cmd.body)
	fields["Signature"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	cmd.ExtFields = fields
}
