// Package catalog is the service that owns intent and history: applications, environments, what they are meant to be, and every
// deployment that changed them. It is the only service with a database. Git and clusters are its outputs, which the committer
// and drift bring about.
//
// What belongs here: the handlers of CatalogService, AccessService and EventService, each no longer than a screen; the rows
// and their keys (keys.go); the outbox, which turns accepted deployments into commands; the projection, which turns what the
// other services report into history. What does not: decisions that need no I/O, which are in internal/rules; rendering, Git
// and clusters, which are other services' and reached by RPC or event only.
//
// A change goes: CreateDeployment writes one transaction and answers; the outbox follows the store's change log and
// publishes the command; the projection consumes the events that come back and moves the row; WatchDeployment streams the row.
package catalog
