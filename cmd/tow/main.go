// Command tow is Towpath's command line.
package main

import (
	"os"

	"github.com/towpath-dev/towpath/internal/cli"
)

// version is set by the linker: -X main.version.
var version = "dev"

func main() { os.Exit(cli.Main(version)) }
