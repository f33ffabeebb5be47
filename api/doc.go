// Package api holds the OpenAPI description of the data listener, which the
// sidecar serves at /openapi.yaml. It is written by hand; the tests of httpapi
// hold every request and answer against it.
package api
