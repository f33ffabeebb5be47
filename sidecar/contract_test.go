package sidecar_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/remora-mq/remora/api"
)

// What only a whole sidecar can answer is as api/admin.yaml says, also with damage
// to tell of; of all else that is shown in package admin.
func TestAdminAnswersAreAsDescribed(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(api.Admin)
	if err != nil {
		t.Fatal(err)
	}
	doc.Servers = nil
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	c := waiting(t)
	flip(t, c, "body of the second")
	r := start(t, c)
	for _, op := range []string{"GET /v1/status", "GET /v1/ledger", "GET /v1/spool", "POST /v1/damage/acknowledge", "POST /v1/clock/confirm", "GET /v1/ledger", "GET /v1/subscriptions"} {
		asDescribed(t, router, op, r.side.Addresses().Admin)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

func asDescribed(t *testing.T, router routers.Router, op, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	method, path, _ := strings.Cut(op, " ")
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	route, params, err := router.FindRoute(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s (%v)", op, res.StatusCode, body, err)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 res.StatusCode, Header: res.Header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	out.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(ctx, out); err != nil {
		t.Errorf("%s breaks admin.yaml: %v\n%s", op, err, body)
	}
}
