package main

import (
	"fmt"
	"maps"
)

// figure describes what a number in results.json means.
type figure struct {
	unit string
	// more tells that a higher number is better.
	more bool
	// bar is the number that the design asks for on two cores; 0 for none.
	bar float64
	// what says from where to where it was measured, in sentences of the docs.
	what string
}

// barText says whether a value meets its bar.
func (f figure) barText(v float64) string {
	switch {
	case f.bar == 0:
		return ""
	case f.more == (v >= f.bar) || v == f.bar:
		return f.limit() + " met"
	default:
		return f.limit() + " MISSED"
	}
}

func (f figure) limit() string {
	if f.more {
		return fmt.Sprintf(">= %v", f.bar)
	}
	return fmt.Sprintf("<= %v", f.bar)
}

const gitPeers = "The peers write the same file of the same repository on the same server. The git CLI has a warm clone with feature.manyFiles. go-git has a warm clone, adds the " +
	"file and commits in its work tree, and calls Remote.Push. What keeps nothing runs git init, fetch --depth 1, checkout, add, commit and push in a new folder each time. " +
	"The limit is what the server itself takes for Towpath's own pushes, from the request to the end of its answer, and is part of Towpath's figure: a client that took no time would be as fast."

const driftPeers = "The peer keeps an informer cache and asks the API server for a dry run of the apply of each object, whose answer it compares with what it has; its figure is from 1,000 of the real objects of the same run."

const oneAtATime = " 100 deployments, one at a time, each changing one variable of an environment with a Deployment and a Service; the next one " +
	"starts when the rollout of the one before is over. Control plane, server and client share the cores."

// catalogRate describes a load on the catalog.
func catalogRate(what string, bar float64) figure {
	return figure{unit: "calls/s", more: true, bar: bar, what: what}
}

// catalogFigures are those of one engine; reads, creates and ratio are the bars.
func catalogFigures(prefix, on string, reads, creates, ratio float64) map[string]figure {
	all := map[string]figure{
		prefix + "get.grpc_per_s": catalogRate("GetDeployment over gRPC; the better one of those with 16 and 256 callers; "+on+".", reads),
		prefix + "rest_over_grpc.ratio": {unit: "x", bar: ratio, what: "GetDeployment: calls per second over gRPC divided by those over REST, 256 callers each; " + on +
			". The REST client is part of the load on the same cores."},
		prefix + "bytes_per_deployment": {unit: "bytes", what: "Growth of the database per deployment of one variable, over 4,000 of them; " + on +
			": its row, indexes, its event of the audit trail, what publishing it writes, and the log of changes, which is cut later. Pages in use, not the file's steps."},
	}
	for _, callers := range []int{1, 16, 256} {
		who := fmt.Sprintf("%d callers, each with an environment of its own; %s.", callers, on)
		if callers == 1 {
			who = "one caller; " + on + "."
		}
		at := func(kind string) string { return fmt.Sprintf("%s%sc%d_per_s", prefix, kind, callers) }
		const durable = "each answer is rendered and on disk, and commands are published beside it; "
		all[at("get.")] = catalogRate("GetDeployment over gRPC, "+who, 0)
		all[at("get.rest_")] = catalogRate("GetDeployment over REST, "+who, 0)
		all[at("create.")] = catalogRate("CreateDeployment of one variable over gRPC; "+durable+who, 0)
		all[at("create.rest_")] = catalogRate("CreateDeployment of one variable over REST; "+durable+who, 0)
	}
	most := all[prefix+"create.c256_per_s"]
	most.bar = creates
	all[prefix+"create.c256_per_s"] = most
	return all
}

func init() {
	maps.Copy(figures, catalogFigures("catalog.", "bbolt in a file", 15_000, 1500, 2.5))
	maps.Copy(figures, catalogFigures("catalog.etcd.", "etcd of one member on the same cores", 0, 0, 0))
}

// figures are all there are. The first word of a name is its area.
var figures = map[string]figure{
	"deploy.request_to_commit.p50_ms": {unit: "ms", bar: 25, what: "From before a client calls CreateDeployment over gRPC until WatchDeployment tells it the commit: " +
		"the commit is on disk in the embedded repository, the event is stored, and the history knows it." + oneAtATime +
		" The peer keeps a clone and runs git add, git commit and git push; it has no history, no event and no rendering to do."},
	"deploy.request_to_commit.p99_ms":  {unit: "ms", what: "The same, 99th percentile; the peer's too."},
	"deploy.request_to_durable.p50_ms": {unit: "ms", what: "The same deployments, until the moment at which the commit and its reference were on disk, as the deployment.committed event states it (same clock)."},
	"deploy.accept.p50_ms":             {unit: "ms", what: "The same deployments, until CreateDeployment has answered: rendered once to see that it can be, and stored on disk."},
	"deploy.request_to_objects.p50_ms": {unit: "ms", bar: 1000, what: "The same deployments, until an operator's NATS subscription has the environment.synced event: the API server has taken all objects."},
	"deploy.request_to_objects.p99_ms": {unit: "ms", what: "The same, 99th percentile."},
	"deploy.edit_to_finding.p50_ms": {unit: "ms", bar: 250, what: "From before a client sends a PATCH that adds a port to the Service straight to the API server, until an operator's NATS " +
		"subscription has the drift.detected event that names the port. 60 edits, one at a time."},
	"deploy.edit_to_finding.p99_ms": {unit: "ms", what: "The same, 99th percentile."},
	"deploy.revert.p50_ms":          {unit: "ms", bar: 1000, what: "From before a client calls RevertFindings over gRPC for such an edit until it answers: the port is gone, and drift has seen that it is."},
	"deploy.revert.p99_ms":          {unit: "ms", what: "The same, 99th percentile."},
	"deploy.c64.per_s": {unit: "deployments/s", more: true, what: "64 clients at once, each deploying 4 times to an environment of its own and waiting for each commit, while the commits are " +
		"also applied to the cluster on the same cores. The peer commits and pushes one after the other from one clone; the rate is from its median."},
	"deploy.c64.git_only_per_s": {unit: "deployments/s", more: true, what: "The same without the cluster: the environments' type has no automatic sync."},

	"catalog.page_1m.ms": {unit: "ms", bar: 10, what: "ListDeployments of 50 from the middle of an environment's history of 300,000, one of 30,000 environments " +
		"of 10,000 applications with 1,000,000 deployments in all; over in-memory gRPC, on bbolt. Each call reads the next page. Mean."},
	"catalog.page_1m_all.ms":           {unit: "ms", what: "ListDeployments of 50 of all environments together, by time, in the same world."},
	"catalog.page_1m_archived.ms":      {unit: "ms", what: "ListDeployments of 50 of the environment with 300,000 once all but its newest 1,000 are in segments: from the border on into them."},
	"catalog.page_1k.ms":               {unit: "ms", what: "ListDeployments of 50 from the middle of an environment's history of 971, with 1,000 deployments in all."},
	"catalog.memory_1m.mb":             {unit: "MB", what: "Heap of the process that holds those 1,000,000 deployments, after paging and a collection."},
	"catalog.list_10k_environments.ms": {unit: "ms", what: "Listing 10,000 environments with what is live of each, in pages of 1,000, over in-memory gRPC, on bbolt. Mean."},

	"env.create_to_available.ms": {unit: "ms", bar: 5000, what: "From before a client calls CreateEnvironment, as a copy of another environment with a variable changed, until WatchDeployment " +
		"tells it that its deployment is healthy: the environment and its first deployment are stored, rendered, committed and applied, and three workloads (a Deployment and a Service each) are available. " +
		"15 environments, one at a time. Control plane, server and client share the cores. Median."},
	"env.create_to_available.p99_ms": {unit: "ms", what: "The same, 99th percentile."},
	"env.delete_to_gone.ms":          {unit: "ms", what: "From before a client calls DeleteEnvironment for such an environment until it is told that nothing of it is left, neither its objects nor their pods nor its namespace. Median."},

	"render.workloads_per_s": {unit: "workloads/s", more: true, bar: 2000, what: "Rendering a set of 100 workloads (database, files, probes) to manifests and their tree id, in process, on one " +
		"goroutine and one core; they are validated, and their objects known, at the end. The peer is kustomize's Go library, which makes the same objects of a folder for each workload, a generator for its file, and " +
		"a root that sets namespace, labels and the image's tag; the bench compares the objects."},
	"render.c100_beside_helm.per_s": {unit: "workloads/s", more: true, what: "The same beside helm's Go library: a chart that ranges over the workloads, whose templates are the manifests with name, image, namespace and checksum " +
		"replaced, rendered, taken apart and sorted as helm template does. It validates nothing and makes no ids."},
	"render.c1.per_s":                {unit: "workloads/s", more: true, what: "Rendering a set of one such workload, again and again."},
	"render.c10000.per_s":            {unit: "workloads/s", more: true, what: "Rendering a set of 10,000 such workloads: 30,003 objects."},
	"render.c10000_over_c100.ratio":  {unit: "x", bar: 1.2, what: "What one of 10,000 workloads costs in processor time, the collector's included, divided by what one of 100 costs: 1 is a cost that grows with their number alone."},
	"render.c100.bytes_per_workload": {unit: "bytes", what: "What is allocated in rendering 100 workloads, for each of them. The peer is kustomize's Go library."},
	"render.c10000.peak_mb":          {unit: "MB", what: "The most memory that the process which renders 10,000 workloads has had, with the input that it loaded from Score files before and the garbage of that."},
	"render.cli.ms":                  {unit: "ms", bar: 40, what: "tow render -f api.score.yaml as a process, of one workload with a database, from before it is started until it has ended. Median of 101."},
	"render.one.us":                  {unit: "us", what: "Rendering a set of one such workload. Mean."},

	"git.single.p50_ms": {unit: "ms", bar: 80, what: "One deployment: from before its command is published until its commit is acknowledged by git http-backend over loopback HTTP, rendering by a light " +
		"stand-in; 200 one after the other, into a repository of 30,000 files and 2,000 commits. " + gitPeers},
	"git.single.p99_ms":             {unit: "ms", bar: 150, what: "The same. The git CLI's is the worst of 40."},
	"git.files_1k.p50_ms":           {unit: "ms", what: "The same in a repository of 1,000 files and 10 commits."},
	"git.files_30k.p50_ms":          {unit: "ms", what: "The same in a repository of 30,000 files and 2,000 commits."},
	"git.files_300k.p50_ms":         {unit: "ms", what: "The same in a repository of 300,000 files in 300,000 folders and 10 commits; 30 one after the other."},
	"git.files_300k_over_1k.ratio":  {unit: "x", bar: 1.2, what: "What a deployment takes in the repository of 300,000 files divided by what it takes in that of 1,000."},
	"git.history_2k.p50_ms":         {unit: "ms", what: "The same in a repository of 1,000 files and 2,000 commits."},
	"git.history_40k.p50_ms":        {unit: "ms", what: "The same in a repository of 1,000 files and 40,000 commits."},
	"git.history_40k_over_2k.ratio": {unit: "x", bar: 2.5, what: "What a deployment takes with 40,000 commits of history divided by what it takes with 2,000."},
	"git.cold_300k.ms":              {unit: "ms", what: "The first deployment of a committer that knows nothing of the repository of 300,000 files. The peer that keeps nothing begins so each time."},
	"git.rollback.ms":               {unit: "ms", bar: 100, what: "Putting back the folder of an earlier deployment by its tree id, from before the command is published to the acknowledged push; 30,000 files and 2,000 commits. p50. The git CLI runs git checkout of the older commit's folder, git commit and git push."},
	"git.embedded.p50_ms":           {unit: "ms", what: "From the rendered bundle to the durable commit in the embedded repository, on disk. The peer is the git CLI pushing to a bare repository by its path."},
	"git.batch100.per_s":            {unit: "commits/s", more: true, bar: 500, what: "100 commits in one push over loopback HTTP to git http-backend, into a repository of 30,000 files. The git CLI runs 100 times git add and git commit in a warm clone, then one git push; go-git does the same five times and pushes once; what keeps nothing cannot share a push."},
	"git.batch1000.per_s":           {unit: "commits/s", more: true, bar: 1000, what: "1,000 commits in one push, else the same."},
	"git.splice.per_s":              {unit: "commits/s", more: true, what: "Building commits in memory in a repository of 30,000 files, without the push."},
	"git.hundred_envs.per_s":        {unit: "deployments/s", more: true, what: "100 commands of 100 environments at once, through rendering (a light stand-in) to the pushed commit over loopback HTTP and its event."},
	"drift.clean.us":                {unit: "us", bar: 110, what: "Comparing one clean Deployment with what is wanted and with its baseline, prepared, on one core. Mean. " + driftPeers},
	"drift.clean_cold.us":           {unit: "us", what: "The same with nothing prepared and the baseline compressed. Mean."},
	"drift.spec_hash.us":            {unit: "us", what: "Deciding that a decoded Deployment differs in its status only. Mean."},
	"drift.baseline.bytes":          {unit: "bytes", what: "The compressed baseline that is kept of such an object."},
	"drift.bytes_per_object": {unit: "bytes", bar: 1536, what: "What the heap holds for each of 100,000 tracked Deployments after all of them were compared: the compressed declaration and baseline, versions, hashes, indexes, and the share of " +
		"what is kept prepared. The objects are replayed: a real one as devcluster's API server and controllers made it, with names, images, digests and addresses of their own. The informer holds 10,000 of the same objects."},
	"drift.bytes_per_object_10k": {unit: "bytes", bar: 1536, what: "The same with 10,000 objects."},
	"drift.sweep_100k.s": {unit: "s", bar: 15, what: "Looking at those 100,000 objects with nothing cached, as after a start: from the bytes of the lists' pages to the end of the last comparison, on one core, without the API server's part. " +
		"The peer's is extrapolated from what it takes for 1,000 real objects, with the API server's part: a dry run is made there."},
	"drift.sweep_unmoved_100k.s": {unit: "s", what: "Looking at them again when only versions and the bookkeeping of status moved."},
	"drift.event.us":             {unit: "us", what: "Dropping an event of a watch, a Deployment of 5 KB of which only versions and bookkeeping moved, from its bytes on; nothing is allocated. Mean."},
	"drift.event_status.us":      {unit: "us", what: "The same where status moved: the object is decoded and its health read anew, and it is not compared. Mean."},
	"drift.event_compared.us":    {unit: "us", what: "The same where something moved that is compared: decoded, compared, and found clean. Mean; declarations that were not compared lately are made ready anew."},
	"drift.event_to_finding.p50_ms": {unit: "ms", bar: 150, what: "From before a client sends a PATCH of a ConfigMap to the API server until a NATS subscriber has the drift.detected event that names the key, with 10,000 real objects of 20 environments " +
		"in devcluster (nine ConfigMaps to one Deployment without pods). 200 edits, one at a time. API server, events and drift share the cores."},
	"drift.event_to_finding.p99_ms": {unit: "ms", bar: 400, what: "The same, 99th percentile."},
	"drift.gate.percent":            {unit: "%", more: true, bar: 95, what: "Share of the events of a cluster that were not compared, while pods of a workload are removed and made again 20 times and somebody edits it twice."},
	"drift.idle.requests_per_hour": {unit: "requests/h", what: "What drift asks an API server of those 10,000 objects while nothing happens, from 40 seconds: whether it is there, and watches that ended. The peer's is reckoned: one dry run of each object every three minutes, which is how " +
		"often engines look by default."},
	"drift.idle.writes_per_hour": {unit: "requests/h", what: "Of these, what writes, dry runs included. None do."},

	"portal.bytes": {unit: "bytes", bar: 200_000, what: "All files of the portal, uncompressed: its pages, scripts and style sheets."},
	"portal.first_page.ms": {unit: "ms", bar: 300, what: "From the navigation to the portal's address until the list of 1,000 environments of 125 applications can be used: all of them are there to be found, the filter is there, and the first rows are " +
		"painted. A real Chromium with an empty cache, signed in, over loopback from a real towpathd on bbolt; browser and server share the cores. Median of 15."},
	"portal.first_page.p99_ms":         {unit: "ms", what: "The same, the longest of them."},
	"portal.list_10k.whole_ms":         {unit: "ms", what: "The same with 10,000 environments, until all of them are there; the first hundred can be seen before."},
	"portal.list_10k.filter_ms":        {unit: "ms", bar: 100, what: "From a change of the filter's text until the list that answers it is painted, with 10,000 environments; the longest of 18 texts, which find all, some or none."},
	"portal.list_10k.longest_frame_ms": {unit: "ms", bar: 50, what: "The longest frame while that list is scrolled through by 700 and 1,700 pixels in turn, each frame, 300 times; in the middle of the window there must be a row each time. Chromium draws without a graphics card."},
	"portal.list_10k.frame.p50_ms":     {unit: "ms", what: "The same, the median frame: 16.7 is 60 of them a second."},
	"portal.list_10k.rows":             {unit: "rows", bar: 100, what: "Rows of that list that are in the document."},
}
