package gittest

// Host is a Git host of either kind, for tests that are the same over HTTP and SSH.
type Host interface {
	// Create makes an empty bare repository.
	Create(name string) *Bare
	// URL is a repository's address.
	URL(name string) string
	// Fail makes the next matching requests go wrong.
	Fail(f Fault)
	// Heal takes back all faults that have not happened yet.
	Heal()
	// Release lets hanging requests go on.
	Release()
	// ForgetProtocol makes the host speak version 0 only.
	ForgetProtocol()
	// Requests gives the requests so far, and forgets them.
	Requests() []string
}

var (
	_ Host = (*Server)(nil)
	_ Host = (*SSHServer)(nil)
)
