// Command devcluster is a real Kubernetes control plane in one binary and one process: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler and KWOK's fake kubelet, all built from published Go modules. It needs no container
// engine and downloads nothing. The demo and the cluster tests run against it.
//
// What belongs here is starting, configuring and stopping upstream components. Nothing of the product is imported: this module
// stays outside go.work, because a workspace would make the product build with the versions chosen here.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/component-base/version"

	_ "time/tzdata" // CronJobs name time zones, and a small machine may have no zone files
)

const usage = `devcluster runs a real Kubernetes control plane on this machine, without containers.

Usage:
  devcluster up [flags]         start a cluster, print how to reach it, run until Ctrl-C
  devcluster kubectl [args]     kubectl of the same version (also when the binary is called by the name kubectl)
  devcluster version            the Kubernetes version inside

"devcluster up -h" lists the flags.
`

func main() {
	if isKubectl(os.Args[0]) {
		kubectl(os.Args)
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	switch os.Args[1] {
	case "up":
		os.Exit(up(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	case "kubectl":
		kubectl(append([]string{"kubectl"}, os.Args[2:]...))
	case "version", "--version":
		fmt.Println(version.Get().GitVersion)
	case "help", "-h", "--help":
		fmt.Print(usage)
	default:
		fmt.Fprintf(os.Stderr, "devcluster: there is no command %q; the commands are up, kubectl and version\n", os.Args[1])
		os.Exit(2)
	}
}

// isKubectl says whether the binary was called by the name kubectl, through a link of that name.
func isKubectl(argv0 string) bool {
	return strings.TrimSuffix(filepath.Base(argv0), ".exe") == "kubectl"
}
