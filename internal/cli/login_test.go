package cli_test

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// The token is asked for without being shown, and is not in what is printed.
func TestLoginAsksForTheToken(t *testing.T) {
	f := startFake(t)
	r := run(t, f, []string{"login"}, terminal(""), setenv("TOW_TOKEN", "")).want(t, 0)
	if r.stderr != "Token: \n" || !strings.HasPrefix(r.stdout, "logged in to "+f.addr+" as tokens/ada (admin)\n") || strings.Contains(r.stdout, secret) {
		t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
	}
}

func TestLoginRefusesWhatIsNoToken(t *testing.T) {
	f := startFake(t)
	for _, text := range []string{"", "two words", "two\nlines\n"} {
		in := setenv("TOW_TOKEN", "")
		r := run(t, f, []string{"login", "--token-file", write(t, text)}, in).want(t, 2)
		if !strings.Contains(r.stderr, "is no token") {
			t.Errorf("%q: %s", text, r.stderr)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A certificate that nobody vouches for is refused; the connection is never made without TLS instead.
func TestLoginWithTLS(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	f := &fake{faults: map[string][]error{}, calls: map[string][]proto.Message{}}
	f.serve(t, "127.0.0.1:0", grpc.Creds(credentials.NewServerTLSFromCert(&certificate.TLS.Certificates[0])))
	ca := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate().Raw})))
	config := setenv("TOW_CONFIG", filepath.Join(t.TempDir(), "config.yaml"))
	quick := setenv("TOW_RETRY", "0s")

	run(t, f, []string{"login"}, config, quick).want(t, 8)
	if r := run(t, f, []string{"login", "--tls"}, config, quick).want(t, 8); !strings.Contains(r.stderr, "certificate signed by unknown authority") {
		t.Errorf("it says %s", r.stderr)
	}
	run(t, f, []string{"login", "--ca-file", write(t, "none")}, config).want(t, 2)
	run(t, f, []string{"login", "--ca-file", ca}, config).want(t, 0)
	run(t, f, []string{"whoami"}, config).want(t, 0)
}
