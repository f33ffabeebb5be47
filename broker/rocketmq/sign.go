package rocketmq

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RocketMQ's ACL has no other
	"encoding/base64"
	"maps"
	"slices"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// Keys sign requests to a cluster that has access control on. The zero value signs
// nothing.
type Keys struct{ Access, Secret string }

func (k Keys) none() bool { return k == Keys{} }

func (k Keys) library() primitive.Credentials {
	return primitive.Credentials{AccessKey: k.Access, SecretKey: k.Secret}
}

// keysOf is what was configured, as a function that there always is.
func keysOf(configured func() Keys) func() Keys {
	if configured == nil {
		return func() Keys { return Keys{} }
	}
	return configured
}

// sign adds AccessKey and Signature: HMAC-SHA1 over the values of all fields in
// order of their names, then the body (internal/remote/interceptor.go:41-75,
// AclUtils.combineRequestContent). It does not change the fields it was given.
func (k Keys) sign(cmd *command) {
	if k.none() {
		return
	}
	fields := maps.Clone(cmd.ExtFields)
	if fields == nil {
		fields = map[string]string{}
	}
	fields["AccessKey"] = k.Access
	mac := hmac.New(sha1.New, []byte(k.Secret))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		mac.Write([]byte(fields[name]))
	}
	mac.Write(cmd.body)
	fields["Signature"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	cmd.ExtFields = fields
}
