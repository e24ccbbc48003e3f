package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs of other clusters may ask for a login plugin
)

// kubectl runs the linked-in kubectl with args, whose first element stands for the program's name, and ends the process.
//
// os.Args is replaced because kubectl looks there for plugins, and client-go for the user agent. From the user agent the API
// server takes the field manager of every write that does not name one itself (kubectl scale is one): it has to say kubectl.
func kubectl(args []string) {
	os.Args = args
	os.Args[0] = "kubectl"
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(args)) // as upstream: a bad -v is reported later, by the flag's own parser
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints the way kubectl does and exits with kubectl's code
	}
	os.Exit(0)
}
