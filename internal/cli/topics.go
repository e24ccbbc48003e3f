package cli

import "github.com/spf13/cobra"

// helpTopics are commands that only have a help: `tow help exit-codes`.
func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		{
			Use: "exit-codes", Short: "What the exit codes mean",
			Long: `Exit codes never change their meaning, so scripts can rely on them.

  0    all is well
  1    an error that has no code of its own, such as a Score file that is not valid
  2    the command line itself is wrong; nothing was done
  3    --wait: the deployment ended DEGRADED, FAILED, SUPERSEDED, REJECTED or CANCELLED
  4    the time was over before the end; a deployment goes on all the same
  5    what was named does not exist
  6    not logged in, or not allowed
  7    somebody else was faster, it exists already, or its state does not allow it
  8    the server, or something that it needs, cannot be reached
  130  interrupted`,
		},
		{
			Use: "environment", Short: "Environment variables and the config file",
			Long: `Flags win over environment variables, and these over the config file.

  TOW_CONFIG   path of the config file (default $XDG_CONFIG_HOME/tow/config.yaml or ~/.config/tow/config.yaml)
  TOW_SERVER   the server's gRPC address, host:port; a token from the config file is sent only to the server it was stored for
  TOW_TOKEN    the token; better than --token, which other users of the machine can see
  TOW_TOKEN_FILE
               a file that holds the token, read at every call
  TOW_RETRY    how long to try again when the server cannot be reached (default 5s; 0s for not at all)
  TOW_PAGER    what shows output that is longer than the screen (default $PAGER, else less -FRX; cat for none); --no-pager for once
  NO_COLOR     no colours, whatever its value; --color decides before it
  TERM         no colours when it is dumb

The config file is written by ` + "`tow login`" + ` and ` + "`tow context`" + `, with mode 0600. It holds the contexts, each a server and a token:

  current: default
  contexts:
    default:
      server: 127.0.0.1:7081
      token: tow_...`,
		},
	}
}
