package admin

import "testing"

// A member that is empty, or stands twice, is not left out in silence: the order would mean
// more than it was told, or something else.
func TestOrdersRefuseMembersThatChooseNothing(t *testing.T) {
	addr, _, _ := serveSpool(t, Options{})
	for path, bodies := range map[string][]string{
		"/v1/messages/resend": {
			`{"filter":{"topic":"","since":"2026-01-02T03:04:05Z"}}`,
			`{"filter":{"topic":"orders","ids":[]}}`,
			`{"filter":{"topic":"orders"},"dry_run":true,"Dry_Run":false}`,
		},
		"/v1/dead-letters/discard": {
			`{"filter":{"topic":"","cause":"expired"}}`,
			`{"filter":{"topic":"orders","topic":"payments"}}`,
			`{"filter":{"all":true,"ids":[]}}`,
			`{"filter":{"all":true},"dry_run":true,"DRY_RUN":false}`,
		},
	} {
		for _, body := range bodies {
			if got := post(t, addr, path, body).code(); got != "400 invalid-option false" {
				t.Errorf("%s %s: %s", path, body, got)
			}
		}
	}
}
