// Package api holds the OpenAPI descriptions of the data and the admin listener,
// which the sidecar serves at /openapi.yaml of each. They are written by hand; the
// tests of httpapi, admin and sidecar hold requests and answers against them.
package api
