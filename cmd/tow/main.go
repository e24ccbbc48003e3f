// Command tow is Towpath's command line.
package main

import (
	"os"
	"runtime/debug"

	"github.com/towpath-dev/towpath/internal/cli"
)

// version is set by the linker: -X main.version.
var version = "dev"

func main() {
	// Most calls end before they have used 20 MB: to collect garbage at 4 MB, as a server would, is a tenth of their time.
	debug.SetGCPercent(400)
	os.Exit(cli.Main(version))
}
