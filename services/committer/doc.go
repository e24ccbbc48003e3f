// Package committer owns Git: it alone holds credentials, brings deployments into the deployment repositories and reads these
// for the other services. Its database is Git itself.
//
// A command arrives over JetStream (handle.go), is rendered and handed to the lane of its repository and branch (lane.go). The
// lane is the only writer of the branch in this process. It decides by the state files at the tip (fold.go, index.go), builds
// one commit per deployment in memory, pushes all that wait in one compare-and-swap and acts on the outcome (push.go). Then
// the desired state and the event go out, and the command is acknowledged (announce.go).
//
// A deployment whose environment has several places, because it is split or moves, is one task per place: places.go makes them and
// groups them by lane, placesperform.go asks all lanes first and then has them write the parts and last the main place, placesfold.go
// is what one lane does, in one commit, and leaves.go removes the places that were left when the new ones are told. A deployment
// with one place takes none of these ways.
//
// What belongs here: everything that decides about a deployment's way into Git, and the read RPCs (reads.go, views.go). What
// does not: Git's own formats and protocols (internal/git), JetStream (internal/events), rendering. Rules without input or
// output are in internal/rules.
//
// What breaks when this is changed carelessly: a deployment is in Git exactly once only because the state file is written by
// the same commit, and because no negative decision is made on a tip that was not just fetched.
package committer
