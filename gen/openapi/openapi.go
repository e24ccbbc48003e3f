// Package openapi holds the description of the REST API, generated from the protos beside it.
package openapi

import _ "embed"

// JSON is the OpenAPI 2 document of the REST API.
//
//go:embed towpath.swagger.json
var JSON []byte
