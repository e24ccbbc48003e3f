package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// firstScore is what `tow init` writes. It renders as it is, and each comment is one thing to try.
const firstScore = `# A workload in the Score format (https://score.dev): what should run, without a word about where.
#   tow render -f FILE                  shows the Kubernetes manifests, offline
#   tow deploy -f FILE -e APP/ENV --wait   deploys it
apiVersion: score.dev/v1b1

metadata:
  # The workload's name within the application.
  name: NAME

# Ports that other workloads and routes can reach; a Service is made of them.
service:
  ports:
    http:
      port: 80
      # The port that the container listens on, when it is another one.
      targetPort: 8080

containers:
  main:
    # "." instead of an image means: given when deploying, with --image.
    image: IMAGE
    # command and args replace those of the image:
    # args: ["--verbose"]
    variables:
      # One call changes it in one environment: tow set LOG_LEVEL=debug -e APP/ENV -w NAME
      LOG_LEVEL: info
      # Values of the environment, set with: tow set CURRENCY=EUR -e APP/ENV
      # CURRENCY: ${resources.env.CURRENCY}
      # Outputs of a resource below; a password becomes a reference to a Secret, never text:
      # DATABASE_URL: postgres://${resources.db.username}:${resources.db.password}@${resources.db.host}:${resources.db.port}/${resources.db.name}
    # files:
    #   /etc/app/app.yaml:
    #     content: |
    #       name: ${metadata.name}
    # Until it answers, nothing is sent to it:
    # readinessProbe:
    #   httpGet: {path: /healthz, port: 8080}
    resources:
      requests: {cpu: 20m, memory: 32Mi}
      limits: {memory: 128Mi}

# What the workload needs. Towpath provides it; two workloads that give the same id share it.
# resources:
#   env:
#     type: environment
#   db:
#     type: postgres
#     id: APP-db
#   route:
#     type: route
#     params: {host: NAME.localhost, path: /, port: 80}
`

var workloadPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$`)

func (t *tow) initCmd() *cobra.Command {
	var file, image, schema string
	var force bool
	cmd := &cobra.Command{
		Use: "init [WORKLOAD]", Short: "Write a commented Score file to begin with", Args: rangeArgs(0, "the name of a workload"),
		Long:    "Writes a Score file that can be deployed as it is, with a comment for each thing that most workloads need sooner or later.",
		Example: "  tow init api\n  tow init web --image registry.example.com/shop/web:2.0.1 -f web.score.yaml",
	}
	cmd.Flags().StringVarP(&file, "file", "f", "score.yaml", "the file to write")
	cmd.Flags().StringVar(&image, "image", "ghcr.io/stefanprodan/podinfo:6.7.1", "the image of the container; . for one that is given when deploying")
	cmd.Flags().StringVar(&schema, "schema", "", "the JSON Schema that editors complete from, an address or a file (default "+schemaName+" where it is beside the file)")
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	cmd.RunE = t.run(func(_ context.Context, args []string) error {
		name := "api"
		if len(args) > 0 {
			name = args[0]
		}
		if !workloadPattern.MatchString(name) {
			return usagef("%q is no name of a workload; use 2 to 63 lower-case letters, digits and inner hyphens", name)
		}
		if image == "" || strings.ContainsAny(image, " \t\n\"'") {
			return usagef("--image %q is no image; give one such as registry.example.com/shop/api:1.4.2", image)
		}
		if image == "." {
			image = `"."`
		}
		line, err := schemaLine(schema, file)
		if err != nil {
			return err
		}
		content := line + strings.NewReplacer("NAME", name, "IMAGE", image, "FILE", file).Replace(firstScore)
		if err := writeNew(file, content, force); err != nil {
			return err
		}
		t.printf("wrote %s; see what comes of it: tow render -f %s\n", file, file)
		return nil
	})
	return cmd
}

// writeNew writes a file, and over one that is there only by force.
func writeNew(file, content string, force bool) error {
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(file, mode, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return errs.New(errs.AlreadyExists, errorsv1.Reason_REASON_ALREADY_EXISTS, "%s is there already", file).
			With("tow_hint", "name another file with -f, or write over it with --force")
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
