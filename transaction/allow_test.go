package transaction_test

import (
	"testing"

	"github.com/remora-mq/remora/transaction"
)

func TestAllowedAddresses(t *testing.T) {
	for _, c := range []struct {
		allowed, address string
		want             bool
	}{
		{"http://127.0.0.1:*", "http://127.0.0.1:8080/tx", true},
		{"http://127.0.0.1:*", "http://127.0.0.1/tx", true},
		{"http://127.0.0.1:*", "http://127.0.0.1:8080/tx?order=7", true},
		{"http://127.0.0.1:*", "https://127.0.0.1:8080/tx", false},
		{"http://127.0.0.1:*", "http://127.0.0.2:8080/tx", false},
		{"http://127.0.0.1:*", "http://127.0.0.1.example.com:8080/tx", false},
		{"http://127.0.0.1:*", "http://127.0.0.1@example.com/tx", false},
		{"http://127.0.0.1:*", "http://example.com/http://127.0.0.1:8080", false},
		{"http://127.0.0.1:*", "http://127.0.0.1:*/tx", false},
		{"http://[::1]:*", "http://[::1]:8080/tx", true},
		{"http://[::1]:*", "http://[::2]:8080/tx", false},
		{"http://app:8080", "http://APP:8080/anything", true},
		{"http://app:8080", "http://app:8081/anything", false},
		{"http://app", "http://app:80/tx", true},
		{"https://app", "https://app:443/tx", true},
		{"http://app", "http://app:8080/tx", false},
		{"http://app:8080/tx", "http://app:8080/tx", true},
		{"http://app:8080/tx/", "http://app:8080/tx/check", true},
		{"http://app:8080/tx", "http://app:8080/txt", false},
		{"http://app:8080/tx", "http://app:8080/tx/../admin", false},
		{"http://app:8080/tx", "http://app:8080/tx/..;v=1/admin", false},
		{"http://app:8080/tx", "http://app:8080/tx/..%3b/admin", false},
		{"http://app:8080/tx", `http://app:8080/tx/..\admin`, false},
		{"http://app:8080/tx", "http://app:8080/tx/%5c..%5cadmin", false},
		{"http://app:8080/tx", "http://app:8080/tx/order..7;v=1", true},
		{"http://app:8080/tx", "http://app:8080/admin", false},
		{"http://app:8080/tx", "http://app:8080/tx/%2e%2e/admin", false},
		{"http://app:8080", "app:8080/tx", false},
		{"http://app:8080", "", false},
		{"http://app:8080", "ftp://app:8080/tx", false},
		{"http://app:8080", "http://app:8080/tx#there", false},
	} {
		err := transaction.Allowed{"http://other:1", c.allowed}.Check(c.address)
		if (err == nil) != c.want {
			t.Errorf("%s, with %s allowed: %v", c.address, c.allowed, err)
		}
	}
	if err := (transaction.Allowed{}).Check("http://127.0.0.1:8080/tx"); err == nil {
		t.Error("where nothing is allowed, something is")
	}
	for _, pattern := range []string{"127.0.0.1:*", "http://*:80", "http://user@app", "http://", "file:///x"} {
		if err := (transaction.Allowed{pattern}).Validate(); err == nil {
			t.Errorf("%s is taken for a pattern", pattern)
		}
	}
}
