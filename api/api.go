package api

import _ "embed"

// OpenAPI is openapi.yaml, of the data listener. It must not be changed.
//
//go:embed openapi.yaml
var OpenAPI []byte

// Admin is admin.yaml, of the admin listener. It must not be changed.
//
//go:embed admin.yaml
var Admin []byte
