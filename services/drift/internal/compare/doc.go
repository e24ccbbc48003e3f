// Package compare decides how a live Kubernetes object differs from what Git declares, and who made it differ.
//
// It is pure: no context, no I/O, no clock, no goroutines. What belongs here is the comparison by field ownership
// (declared leaves, extra leaves, baselines, allow rules with evidence), the canonical meaning of values, the table of
// API-server defaults, and the patch that takes extras away. What does not: watching, applying, storing, settling.
//
// # Why not a diff
//
// A three-way merge never contains a field that nobody declared, and a server-side-apply dry run merges keyed lists, so
// a port, a variable or a container that somebody added survives both and is not seen. Here every live leaf must be
// explained: declared, a default (baseline or table), delegated with evidence, or it is a finding with its manager.
//
// # Paths
//
// A Finding's Path is stable: it never contains the position of a keyed list's item. The grammar:
//
//	path    = segment *( "." field | "[" step "]" )
//	field   = a name of a struct                      spec.template
//	[key]   = a key of a free map                     metadata.labels[app.kubernetes.io/name], data[LOG_LEVEL]
//	[k=v]   = an item of a keyed list, by its keys    spec.ports[port=80], env[name=A]
//	[k=v,k=v] when there are several keys; a key that has its schema default is left out, so TCP is not written
//	[=v]    = an item of a set                        metadata.finalizers[=example.com/hold]
//	[k=v#2] = the second item with the same keys
//
// A key or value with characters outside A-Z a-z 0-9 . _ / - : @ + is written as a JSON string. Atomic lists and maps
// (as the schema says: args, a Service's selector) are one leaf. The path of a whole object (missing, orphaned) is empty.
//
// # Roll-up
//
// A struct or list item that is wholly extra is one finding, not one for each leaf. Items of keyed lists, sets and free
// maps stay findings of their own unless something above them is wholly extra too: adding a second label never renames
// the finding of the first.
package compare
