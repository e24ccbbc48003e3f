package events

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The accounts of the embedded server. Operators have one of their own: a server answers a request on any subject that
// the request names, without asking whether the client may publish there, so in one account an operator could have an
// answer land in the work queue or in the place of a desired state. Across accounts an answer goes back to where the
// request came from.
const (
	accountServices  = "TOWPATH"
	accountOperators = "OPERATORS"

	accountInfo = "$JS.API.INFO"
)

type account struct {
	JetStream string   `json:"jetstream,omitempty"`
	Users     []user   `json:"users"`
	Exports   []export `json:"exports,omitempty"`
	Imports   []imprt  `json:"imports,omitempty"`
}

type user struct {
	Nkey        string     `json:"nkey"`
	Permissions permission `json:"permissions"`
}

type export struct {
	Stream       string   `json:"stream,omitempty"`
	Service      string   `json:"service,omitempty"`
	ResponseType string   `json:"response_type,omitempty"`
	Accounts     []string `json:"accounts"`
}

type imprt struct {
	Stream  *source `json:"stream,omitempty"`
	Service *source `json:"service,omitempty"`
}

type source struct {
	Account string `json:"account"`
	Subject string `json:"subject"`
}

// accountsConfig gives the server's configuration of accounts for the public keys of the roles.
func accountsConfig(public map[Role]string) (string, error) {
	services := account{JetStream: "enabled"}
	operators := account{}
	for _, r := range Roles {
		u := user{Nkey: public[r], Permissions: permissions(r)}
		if r == RoleOperator {
			operators.Users = append(operators.Users, u)
		} else {
			services.Users = append(services.Users, u)
		}
	}
	for _, s := range []string{prefixEvent + ">", prefixJSON + ">"} {
		services.Exports = append(services.Exports, export{Stream: s, Accounts: []string{accountOperators}})
		operators.Imports = append(operators.Imports, imprt{Stream: &source{accountServices, s}})
	}
	allow := func(response string, requests ...string) {
		for _, s := range requests {
			services.Exports = append(services.Exports, export{Service: s, ResponseType: response, Accounts: []string{accountOperators}})
			operators.Imports = append(operators.Imports, imprt{Service: &source{accountServices, s}})
		}
	}
	// Without this one the server answers all requests of operators a second time, that they have no JetStream.
	allow("", accountInfo)
	for _, stream := range grants[RoleOperator].reads {
		once, many := readRequests(stream)
		allow("", once...)
		allow("stream", many...)
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // the server's parser knows no \u003e
	err := enc.Encode(map[string]any{"accounts": map[string]account{accountServices: services, accountOperators: operators}})
	if err != nil {
		return "", fmt.Errorf("make the event server's accounts: %w", err)
	}
	return text.String(), nil
}
