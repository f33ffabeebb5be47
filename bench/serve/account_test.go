package serve

import (
	"strings"
	"testing"
)

func TestAccount(t *testing.T) {
	tests := []struct {
		name        string
		account     Account
		sent, taken uint64
		want        string
	}{
		{"all", Account{10, 10}, 10, 10, ""},
		{"an answer was cut off", Account{10, 10}, 10, 9, ""},
		{"a request was cut off", Account{9, 9}, 10, 9, ""},
		{"lost", Account{9, 9}, 10, 10, "10 messages were answered 202, and only 9 accepted"},
		{"made up", Account{11, 11}, 10, 10, "only 10 sent"},
		{"not forwarded", Account{10, 9}, 10, 10, "9 confirmed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.account.Check(tt.sent, tt.taken)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
