// Command protodeps writes the .proto files that ours import (google/api, buf/validate, protoc-gen-openapiv2) into a
// folder, printed from the descriptors linked into the Go modules that tools/go.mod pins. So buf needs no registry, and
// no third party's file is copied into the repository: the folder is a build output.
package main

import (
	"fmt"
	"os"

	_ "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	_ "github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2/options"
	"github.com/jhump/protoreflect/v2/protoprint"
	_ "google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

var roots = []string{
	"google/api/annotations.proto",
	"google/api/field_behavior.proto",
	"google/api/resource.proto",
	"buf/validate/validate.proto",
	"protoc-gen-openapiv2/options/annotations.proto",
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: protodeps FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "protodeps:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	var files []protoreflect.FileDescriptor
	seen := map[string]bool{}
	var add func(path string) error
	add = func(path string) error {
		// The well-known types are built into buf.
		if seen[path] || len(path) > 16 && path[:16] == "google/protobuf/" {
			return nil
		}
		seen[path] = true
		f, err := protoregistry.GlobalFiles.FindFileByPath(path)
		if err != nil {
			return fmt.Errorf("%s is not linked into this binary: %w", path, err)
		}
		for i := range f.Imports().Len() {
			if err := add(f.Imports().Get(i).Path()); err != nil {
				return err
			}
		}
		files = append(files, f)
		return nil
	}
	for _, r := range roots {
		if err := add(r); err != nil {
			return err
		}
	}
	p := protoprint.Printer{Compact: true}
	return p.PrintProtosToFileSystem(files, dir)
}
