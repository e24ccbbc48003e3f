// Package audit is what the services share of the audit trail: which calls are recorded, what an event says about one, and what
// may never be in it.
//
// What belongs here: everything that can be told from a call alone. What does not: the trail itself, which is the catalog's, and
// the resources before and after, which only their owner knows.
package audit
