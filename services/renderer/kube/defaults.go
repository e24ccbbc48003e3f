package kube

import (
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"slices"
	"strings"

	"github.com/towpath-dev/towpath/internal/errs"
	"github.com/towpath-dev/towpath/internal/lazyre"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

var (
	dnsLabel     = lazyre.New(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	dnsSubdomain = lazyre.New(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	annotation   = lazyre.New(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	percentage   = lazyre.New(`^([1-9][0-9]{0,3}|[1-9][0-9]?%|100%)$`)
	cpuAmount    = lazyre.New(`^\d+(?:m|\.\d+)?$`)
	memoryAmount = lazyre.New(`^(0\.\d+|[1-9]\d*(\.\d+)?)(K|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$`)
)

// maxAnnotations is what Kubernetes allows for all annotations of an object together, in bytes.
const maxAnnotations = 256 << 10

// checker collects what is wrong with an environment type's defaults.
type checker struct {
	prefix string
	fields []errs.Field
}

func (c *checker) wrong(path, format string, args ...any) {
	c.fields = append(c.fields, errs.Field{Path: c.prefix + path, Problem: fmt.Sprintf(format, args...)})
}

// CheckDefaults says what is wrong with the defaults of workloads. The paths of the fields begin with the prefix.
func CheckDefaults(prefix string, d *rendererv1.EnvironmentDefaults) []errs.Field {
	c := &checker{prefix: prefix}
	if n := d.GetReplicas(); n > maxReplicas {
		c.wrong("replicas", "is %d: expected at most %d", n, maxReplicas)
	}
	c.amounts("requests", d.GetRequests())
	c.amounts("limits", d.GetLimits())
	if larger(d.GetRequests().GetCpu(), d.GetLimits().GetCpu()) {
		c.wrong("requests.cpu", "%s is more than limits.cpu, which is %s", d.GetRequests().GetCpu(), d.GetLimits().GetCpu())
	}
	if larger(d.GetRequests().GetMemory(), d.GetLimits().GetMemory()) {
		c.wrong("requests.memory", "%s is more than limits.memory, which is %s", d.GetRequests().GetMemory(), d.GetLimits().GetMemory())
	}
	if max := d.GetDisruptionBudget().GetMaxUnavailable(); max != "" && !percentage.MatchString(max) {
		c.wrong("disruption_budget.max_unavailable", "%q is not valid: expected a number above 0 or a percentage, such as 1 or 25%%; with 0 no node could ever be drained", max)
	}
	c.network(d.GetNetwork())
	c.autoscaling(d)
	c.annotations(d.GetServiceAccount().GetAnnotations())
	for i, name := range d.GetImagePullSecrets() {
		switch path := fmt.Sprintf("image_pull_secrets[%d]", i); {
		case len(name) > 253 || !dnsSubdomain.MatchString(name):
			c.wrong(path, "%q is not the name of a Secret: expected lower-case letters, digits, dots and dashes", name)
		case slices.Index(d.GetImagePullSecrets(), name) < i:
			c.wrong(path, "%q is listed twice", name)
		}
	}
	return c.fields
}

func (c *checker) amounts(path string, a *rendererv1.ComputeAmounts) {
	if v := a.GetCpu(); v != "" && !cpuAmount.MatchString(v) {
		c.wrong(path+".cpu", "%q is not valid: expected cores such as 2 or 0.5, or thousandths such as 250m", v)
	}
	if v := a.GetMemory(); v != "" && !memoryAmount.MatchString(v) {
		c.wrong(path+".memory", "%q is not valid: expected bytes such as 256Mi or 1G", v)
	}
}

func (c *checker) network(n *rendererv1.NetworkRules) {
	for i, ns := range n.GetIngressNamespaces() {
		if !dnsLabel.MatchString(ns) {
			c.wrong(fmt.Sprintf("network.ingress_namespaces[%d]", i), "%q is not the name of a namespace", ns)
		}
	}
	if len(n.GetIngressNamespaces()) > 0 && !n.GetIsolate() {
		c.wrong("network.ingress_namespaces", "says who may come in where nobody is kept out: set network.isolate too")
	}
	for i, cidr := range n.GetEgressCidrs() {
		p, err := netip.ParsePrefix(cidr)
		switch path := fmt.Sprintf("network.egress_cidrs[%d]", i); {
		case err != nil:
			c.wrong(path, "%q is not a range of addresses: expected one such as 10.0.0.0/8", cidr)
		case p.Masked() != p:
			c.wrong(path, "%q has bits behind its mask: expected %s", cidr, p.Masked())
		}
	}
}

func (c *checker) autoscaling(d *rendererv1.EnvironmentDefaults) {
	a := d.GetAutoscaling()
	if a == nil {
		return
	}
	switch least := leastReplicas(d); {
	case a.GetMinReplicas() < 0:
		c.wrong("autoscaling.min_replicas", "is %d: expected 1 or more, or 0 for the type's replicas", a.GetMinReplicas())
	case a.GetMaxReplicas() < 1 || a.GetMaxReplicas() > maxReplicas:
		c.wrong("autoscaling.max_replicas", "is %d: expected a number from 1 to %d", a.GetMaxReplicas(), maxReplicas)
	case int(a.GetMaxReplicas()) < least:
		c.wrong("autoscaling.max_replicas", "is %d, less than the least number of replicas, which is %d", a.GetMaxReplicas(), least)
	}
	c.percent("autoscaling.cpu_percent", a.GetCpuPercent())
	c.percent("autoscaling.memory_percent", a.GetMemoryPercent())
}

func (c *checker) percent(path string, n int32) {
	if n < 0 || n > 1000 {
		c.wrong(path, "is %d: expected a number from 1 to 1000, or 0 to leave it out", n)
	}
}

func (c *checker) annotations(annotations map[string]string) {
	size := 0
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		size += len(k) + len(annotations[k])
		switch path := fmt.Sprintf("service_account.annotations[%q]", k); {
		case !annotation.MatchString(k) || len(k) > 317:
			c.wrong(path, "is not the name of an annotation")
		case strings.HasPrefix(k, AnnotationPrefix):
			c.wrong(path, "is reserved: annotations of %s are set by Towpath", AnnotationPrefix)
		}
	}
	if size > maxAnnotations {
		c.wrong("service_account.annotations", "are %d bytes, Kubernetes takes at most %d", size, maxAnnotations)
	}
}

// leastReplicas is how many replicas an autoscaler keeps at least.
func leastReplicas(d *rendererv1.EnvironmentDefaults) int {
	if n := d.GetAutoscaling().GetMinReplicas(); n > 0 {
		return int(n)
	}
	return max(int(d.GetReplicas()), 1)
}

// suffixes are the factors of amounts, the longer ones first.
var suffixes = []struct {
	suffix string
	factor *big.Rat
}{
	{"Ki", power(1024, 1)}, {"Mi", power(1024, 2)}, {"Gi", power(1024, 3)}, {"Ti", power(1024, 4)}, {"Pi", power(1024, 5)}, {"Ei", power(1024, 6)},
	{"K", power(1000, 1)}, {"M", power(1000, 2)}, {"G", power(1000, 3)}, {"T", power(1000, 4)}, {"P", power(1000, 5)}, {"E", power(1000, 6)},
	{"m", big.NewRat(1, 1000)},
}

func power(base, n int64) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(base), big.NewInt(n), nil))
}

// larger reports whether an amount is more than another. It is false when one of them is not given, or not valid.
func larger(a, b string) bool {
	x, y := amount(a), amount(b)
	return x != nil && y != nil && x.Cmp(y) > 0
}

func amount(s string) *big.Rat {
	if len(s) > 64 || !cpuAmount.MatchString(s) && !memoryAmount.MatchString(s) {
		return nil // an exponent, which big.Rat would read, is none of them
	}
	factor := big.NewRat(1, 1)
	for _, f := range suffixes {
		if rest, ok := strings.CutSuffix(s, f.suffix); ok {
			s, factor = rest, f.factor
			break
		}
	}
	out, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil
	}
	return out.Mul(out, factor)
}
