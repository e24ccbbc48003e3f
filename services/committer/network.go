package committer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/towpath-dev/towpath/internal/git"
)

// onTheWay tells what kept us from reaching a host, and what to do; both are empty when the host answered, or nobody can tell more.
// It goes by the errors' types, never by their words.
func onTheWay(err error) (finding, remedy string) {
	if git.Answered(err) {
		return "", ""
	}
	if finding, remedy = uncertified(err); finding != "" {
		return finding, remedy
	}
	var name *net.DNSError
	var op *net.OpError
	at := "the address"
	if errors.As(err, &op) && op.Addr != nil {
		at = op.Addr.String()
	}
	const path = "check the port of the URL, that the host runs, and that the network lets the committer reach it (firewall, network policy, proxy)"
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "the name " + name.Name + " of the host is not known",
			"correct the host in the repository's url, or make the name known to the DNS that the committer asks"
	case errors.As(err, &name):
		return "the name " + name.Name + " of the host could not be looked up", "check the DNS that the committer asks"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens at " + at, path
	case errors.Is(err, syscall.ECONNRESET):
		return "the connection to " + at + " was cut", path
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way in the network to " + at, path
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "the host does not answer in time", path
	}
	return "", ""
}

// uncertified tells what is wrong with TLS.
func uncertified(err error) (finding, remedy string) {
	var header tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &header), errors.Is(err, http.ErrSchemeMismatch):
		return "what answers does not speak TLS", "give the port of the host's https in the repository's url, or its http address"
	case errors.As(err, &authority):
		return "the host's certificate is by an authority that the committer does not know",
			"put the authority's certificate (PEM) as " + keyCA + " into the repository's credentials, or among the system's of the committer"
	case errors.As(err, &host):
		return "the host's certificate is for another name than " + host.Host, "use the name that the certificate is for in the repository's url"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the host's certificate has expired, or the committer's clock is wrong", "have the certificate renewed, and check the clock"
	case errors.As(err, &invalid):
		return "the host's certificate cannot be used", "have the host's operator look at it"
	}
	return "", ""
}
