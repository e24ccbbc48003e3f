package events

import "slices"

// Role names a credential of the embedded server.
type Role string

// The roles. Each has a seed file of its name in the server's folder.
const (
	RoleCatalog   Role = "catalog"
	RoleCommitter Role = "committer"
	RoleDrift     Role = "drift"
	// RoleGateway reads events for WatchEvents and webhooks.
	RoleGateway Role = "gateway"
	// RoleOperator is for people: `nats --nkey operator.nk sub 'towpath.evt.>'`.
	RoleOperator Role = "operator"
)

// Roles lists all of them.
var Roles = []Role{RoleCatalog, RoleCommitter, RoleDrift, RoleGateway, RoleOperator}

// Durables are the names a service may give a durable consumer of StreamEvents. Operators may make consumers of their own
// on that stream, and without this list could take a service's messages by using its name: subject permissions know only
// whole tokens, so the names have to be known when the server starts.
var Durables = []string{
	"catalog", "catalog-history", "catalog-deployments", "catalog-audit",
	"committer", "committer-events", "drift", "drift-commits", "drift-events", "gateway", "webhooks",
}

// grant is one row of the table of permissions.
type grant struct {
	// publish lists what the role may publish to streams and plain subscribers.
	publish []string
	// durables lists the streams on which it may have consumers that acknowledge.
	durables []string
	// reads lists the streams it may read without acknowledging.
	reads []string
	// create and update say whether it may create missing streams and change existing ones.
	create, update bool
	// shares says whether it shares work with other replicas by the bucket of leases.
	shares bool
}

// grants is who may do what; everything else is refused by the server. Only the catalog publishes commands, so nothing
// but an accepted deployment can cause a commit. The catalog also publishes what committer and drift do, to refill lost
// streams from its history.
var grants = map[Role]grant{
	RoleCatalog: {
		publish:  []string{prefixCommand + ">", prefixEvent + ">", prefixJSON + ">", prefixDesired + ">", prefixDeadLetter + ">", prefixPolicy + ">"},
		durables: []string{StreamCommands, StreamEvents, StreamDesired, StreamDeadLetters},
		reads:    []string{StreamPulls, StreamPolicies},
		create:   true, update: true,
	},
	RoleCommitter: {
		publish:  []string{prefixEvent + ">", prefixJSON + ">", prefixDesired + ">", prefixDeadLetter + ">", prefixPull + ">"},
		durables: []string{StreamCommands, StreamEvents},
		reads:    []string{StreamDesired, StreamPulls},
		create:   true,
		shares:   true,
	},
	RoleDrift: {
		publish:  []string{prefixEvent + ">", prefixJSON + ">", prefixDeadLetter + ">"},
		durables: []string{StreamEvents, StreamDesired},
		reads:    []string{StreamPolicies},
		create:   true,
		shares:   true,
	},
	RoleGateway:  {reads: []string{StreamEvents, StreamDesired, StreamDeadLetters}},
	RoleOperator: {reads: []string{StreamEvents}},
}

// A role of an outside server is unknown here; that server decides.
func (r Role) mayUpdateStreams() bool { return r == "" || grants[r].update }
func (r Role) mayCreateStreams() bool { return r == "" || grants[r].create }

// mayConsume and mayRead repeat the table on our side, for an answer at once: the server only keeps silent.
func (r Role) mayConsume(stream string) bool {
	return r == "" || slices.Contains(grants[r].durables, stream)
}

func (r Role) mayRead(stream string) bool {
	return r.mayConsume(stream) || slices.Contains(grants[r].reads, stream)
}

// mayRetry reports whether the role may send dead letters again, which takes the right to remove them.
func (r Role) mayRetry() bool { return r.mayUpdateStreams() }

// mayReadPayloads: operators read what is in an event, never the store of large bodies, which holds commands' input, too.
func (r Role) mayReadPayloads() bool { return r != RoleOperator }

// inboxPrefix gives each service answers that nobody else can read: an operator listening on _INBOX.> would otherwise see
// the commands that are delivered to the committer.
func inboxPrefix(r Role) string {
	if r == RoleOperator {
		return "_INBOX"
	}
	return "_INBOX_" + string(r)
}

// permission is what a user may do, in the server's configuration language (which reads JSON).
type permission struct {
	Publish   subjects `json:"publish"`
	Subscribe subjects `json:"subscribe"`
}

type subjects struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

// permissions turns a row of the table into the server's terms.
func permissions(r Role) permission {
	g := grants[r]
	pub := append(slices.Clone(g.publish), accountInfo)
	for _, s := range slices.Concat(g.durables, g.reads) {
		pub = append(pub, readSubjects(s)...)
	}
	for _, s := range g.durables {
		pub = append(pub, "$JS.ACK."+s+".>", "$JS.ACK.*.*."+s+".>")
	}
	for _, s := range []string{StreamCommands, StreamEvents, StreamDesired, StreamDeadLetters, StreamPulls, StreamPolicies, payloadStream} {
		if g.create {
			pub = append(pub, "$JS.API.STREAM.CREATE."+s, "$JS.API.STREAM.INFO."+s)
		}
		if g.update {
			pub = append(pub, "$JS.API.STREAM.UPDATE."+s)
		}
	}
	if r.mayReadPayloads() {
		pub = append(pub, readSubjects(payloadStream)...)
		pub = append(pub, "$JS.FC."+payloadStream+".>", "$JS.FC.*.*."+payloadStream+".>")
	}
	if len(g.publish) > 0 {
		pub = append(pub, "$O."+payloadBucket+".>", "$JS.API.STREAM.PURGE."+payloadStream)
	}
	if slices.Contains(g.publish, prefixPull+">") {
		pub = append(pub, "$JS.API.STREAM.PURGE."+StreamPulls)
	}
	if slices.Contains(g.publish, prefixPolicy+">") {
		pub = append(pub, "$JS.API.STREAM.PURGE."+StreamPolicies)
	}
	if g.update {
		pub = append(pub, "$JS.API.STREAM.MSG.DELETE."+StreamDeadLetters)
	}
	if g.shares {
		pub = append(pub, shareSubjects()...)
	}
	p := permission{
		Publish:   subjects{Allow: pub},
		Subscribe: subjects{Allow: []string{inboxPrefix(r) + ".>", prefixEvent + ">", prefixJSON + ">"}},
	}
	if r == RoleOperator || r == RoleGateway {
		p.Publish.Deny = serviceConsumers()
	}
	return p
}

// readSubjects is what reading a stream takes: looking at it, single messages, and consumers.
func readSubjects(stream string) []string {
	once, many := readRequests(stream)
	return slices.Concat(once, many)
}

// readRequests separates the requests with one answer from those with many.
func readRequests(stream string) (once, many []string) {
	return []string{
			"$JS.API.STREAM.INFO." + stream, "$JS.API.STREAM.MSG.GET." + stream, "$JS.API.DIRECT.GET." + stream + ".>",
			"$JS.API.CONSUMER.CREATE." + stream + ".>", "$JS.API.CONSUMER.INFO." + stream + ".*", "$JS.API.CONSUMER.DELETE." + stream + ".*",
		}, []string{
			"$JS.API.DIRECT.GET." + stream, "$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
		}
}

// serviceConsumers lists the requests that would disturb a service's consumer.
func serviceConsumers() []string {
	var deny []string
	for _, d := range Durables {
		deny = append(deny,
			"$JS.API.CONSUMER.CREATE."+StreamEvents+"."+d, "$JS.API.CONSUMER.CREATE."+StreamEvents+"."+d+".>",
			"$JS.API.CONSUMER.DELETE."+StreamEvents+"."+d, "$JS.API.CONSUMER.MSG.NEXT."+StreamEvents+"."+d)
	}
	return deny
}
