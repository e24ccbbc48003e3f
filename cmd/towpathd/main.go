// Command towpathd is Towpath's server: all services in one process, or some of them with --target.
package main

import (
	"os"

	"github.com/towpath-dev/towpath/internal/app"
)

var version = "dev" // set by the linker

func main() { os.Exit(app.Main(version, os.Args[1:], os.Stdout, os.Stderr)) }
