package kube

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// role says how a container is started.
type role int

const (
	mainRole role = iota
	// initRole runs to its end before the containers that wait for it start.
	initRole
	// sidecarRole is started, or healthy, before the containers that wait for it start, and goes on running.
	sidecarRole
	// healthySidecarRole is a sidecar that others wait for to be healthy.
	healthySidecarRole
)

// maxContainers is more than any node can run in one pod; without a limit a document could keep the renderer busy for long.
const maxContainers = 200

// containers makes the pod's containers in order of their names, and its init containers in the order in which they start.
func (b *builder) containers() (regular, inits []any) {
	all := child(b.in.Doc, "containers")
	if len(all) > maxContainers {
		b.invalid("containers", "are %d, at most %d fit into a pod", len(all), maxContainers)
		return nil, nil
	}
	roles := b.roles(all)
	b.takeVolumes(all)
	single := len(roles) == len(all)-1 || len(all) == 1
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if roles[name] == mainRole {
			regular = append(regular, b.container(name, child(all, name), mainRole, single))
		}
	}
	for _, name := range b.startOrder(all, roles) {
		inits = append(inits, b.container(name, child(all, name), roles[name], false))
	}
	return regular, inits
}

// roles tells for every container that another waits for how it is started.
func (b *builder) roles(all map[string]any) map[string]role {
	out := map[string]role{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		before := child(child(all, name), "before")
		for _, other := range slices.Sorted(maps.Keys(before)) {
			want := map[string]role{"complete": initRole, "started": sidecarRole, "healthy": healthySidecarRole}[text(child(before, other), "ready")]
			have, known := out[other]
			if known && (have == initRole) != (want == initRole) {
				b.invalid("containers."+name+".before."+other, "%s is waited for to be complete here and to go on running elsewhere: ask for one of them", other)
			}
			out[other] = max(have, want)
		}
	}
	return out
}

// startOrder sorts the init containers so that each starts after those that it waits for, ties by name.
func (b *builder) startOrder(all map[string]any, roles map[string]role) []string {
	var order []string
	done := map[string]bool{}
	for len(order) < len(roles) {
		before := len(order)
		for _, name := range slices.Sorted(maps.Keys(roles)) {
			waits := child(child(all, name), "before")
			if !done[name] && !slices.ContainsFunc(slices.Collect(maps.Keys(waits)), func(o string) bool { return !done[o] }) {
				order, done[name] = append(order, name), true
				break
			}
		}
		if len(order) == before {
			break // a cycle; validation has refused it
		}
	}
	return order
}

func (b *builder) container(name string, c map[string]any, as role, single bool) map[string]any {
	where := "containers." + name
	out := map[string]any{"name": b.score(name, where), "image": b.score(text(c, "image"), where, "image")}
	for _, key := range []string{"command", "args"} {
		if list, ok := c[key].([]any); ok {
			out[key] = b.score(escapeAll(list), where, key)
		}
	}
	if env := b.env(child(c, "variables"), where+".variables"); len(env) > 0 {
		out["env"] = env
	}
	b.mounted = map[string]bool{}
	mounts := append(b.files(name, child(c, "files"), where+".files"), b.mounts(child(c, "volumes"), where+".volumes")...)
	if len(mounts) > 0 {
		out["volumeMounts"] = mounts
	}
	if resources := b.compute(child(c, "resources"), where+".resources"); len(resources) > 0 {
		out["resources"] = resources
	}
	if single {
		if ports := b.containerPorts(); len(ports) > 0 {
			out["ports"] = ports
		}
	}
	if b.in.Defaults.GetRestricted() {
		out["securityContext"] = b.ofType(map[string]any{"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []any{"ALL"}}}, "restricted", "")
	}
	b.probes(out, c, as, where)
	return out
}

// containerPorts lists the service's target ports. A Score document does not say which container listens, so they are only
// written where there is one. They do not open anything; people and tools read them.
func (b *builder) containerPorts() []any {
	var out []any
	seen := map[string]bool{}
	for _, p := range Ports(b.in.Doc) {
		port := map[string]any{"containerPort": b.targetPort(p)}
		if p.Protocol != "TCP" {
			port["protocol"] = p.Protocol
		}
		if key := p.Protocol + strconv.Itoa(p.TargetPort); !seen[key] {
			seen[key] = true
			out = append(out, b.score(port, "service.ports", p.Name))
		}
	}
	return out
}

// probes adds the probes, and for a container that others wait for what makes Kubernetes wait.
func (b *builder) probes(out, c map[string]any, as role, where string) {
	for _, key := range []string{"livenessProbe", "readinessProbe"} {
		probe := child(c, key)
		if probe == nil {
			continue
		}
		if as == initRole {
			b.invalid(where+"."+key, "a container that others wait for to be complete cannot have probes: remove it, or let them wait for healthy")
			continue
		}
		if probe["httpGet"] != nil && probe["exec"] != nil {
			b.warn("%s.%s has httpGet and exec: exec is used", where, key)
		}
		if host := text(child(probe, "httpGet"), "host"); host != "" && probe["exec"] == nil && b.in.Defaults.GetRestricted() {
			b.invalid(where+"."+key+".httpGet.host", "is refused by Pod Security in a restricted environment, because the node would call %s for the workload: remove it, and the pod itself is asked; for another name in the request add the header Host to httpHeaders", host)
		}
		out[key] = b.score(probeOf(probe), where, key)
	}
	switch as {
	case sidecarRole, healthySidecarRole:
		out["restartPolicy"] = b.rule("Always", "another container waits for this one to be started or healthy, and it goes on running beside it")
	}
	if as != healthySidecarRole {
		return
	}
	for _, key := range []string{"readinessProbe", "livenessProbe"} {
		if probe := child(c, key); probe != nil {
			startup := probeOf(probe)
			startup["periodSeconds"], startup["failureThreshold"] = 2, 150
			out["startupProbe"] = b.because(startup, "another container waits for this one to be healthy, for five minutes at most", where, key)
			return
		}
	}
	b.invalid(where, "another container waits for it to be healthy, and it has no probe: add a readinessProbe, or let it wait for started")
}

// probeOf makes a probe; exec is preferred when both are given.
func probeOf(probe map[string]any) map[string]any {
	if exec := child(probe, "exec"); exec != nil {
		command, _ := exec["command"].([]any)
		return map[string]any{"exec": map[string]any{"command": append([]any{}, command...)}}
	}
	get := child(probe, "httpGet")
	out := map[string]any{"path": text(get, "path"), "port": get["port"]}
	for _, key := range []string{"scheme", "host"} {
		if v := text(get, key); v != "" {
			out[key] = v
		}
	}
	if headers, ok := get["httpHeaders"].([]any); ok && len(headers) > 0 {
		out["httpHeaders"] = headers
	}
	return map[string]any{"httpGet": out}
}

func escapeAll(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		s, _ := v.(string)
		out[i] = escapeDollars(s, "")
	}
	return out
}

// escapeDollars doubles every dollar sign that Kubernetes would take for the beginning of $(NAME) or $$, so that the
// container sees the text as it was written. next is what follows the text.
func escapeDollars(s, next string) string {
	if strings.IndexByte(s, '$') < 0 {
		return s
	}
	var b strings.Builder
	whole := s + next
	for i := range len(s) {
		b.WriteByte(s[i])
		if s[i] == '$' && i+1 < len(whole) && (whole[i+1] == '$' || whole[i+1] == '(') {
			b.WriteByte('$')
		}
	}
	return b.String()
}
