package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Names inside the state folder.
const (
	lockName       = "lock"
	portName       = "port"
	kubeconfigName = "kubeconfig"
	logName        = "cluster.log"
	etcdLogName    = "etcd.log"
	etcdName       = "etcd"
	pkiName        = "pki"
)

// stateDir is the folder that makes a cluster continue: its certificates, etcd's data and the API server's port. It is held
// locked while a cluster lives in it, because two etcds on the same data would destroy it.
type stateDir struct {
	path      string
	temporary bool
	lock      *os.File
}

// openStateDir creates the folder where needed and locks it. An empty path gives a temporary folder that close removes.
func openStateDir(path string) (*stateDir, error) {
	d := &stateDir{path: path, temporary: path == ""}
	var err error
	if d.temporary {
		d.path, err = os.MkdirTemp("", "devcluster-")
	} else if d.path, err = filepath.Abs(path); err == nil {
		err = os.MkdirAll(d.path, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w; choose a folder you can write to with --dir", err)
	}
	return d, d.acquire()
}

// acquire takes the lock. The kernel frees it when the process ends, however it ends, so a crash leaves no stale lock behind.
func (d *stateDir) acquire() error {
	f, err := os.OpenFile(d.file(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock the state folder %s: %w; choose a folder on a local disk with --dir", d.path, err)
		}
		owner, _ := os.ReadFile(f.Name())
		return fmt.Errorf("%s is in use by a running devcluster (process %s): stop that one, or choose another folder with --dir",
			d.path, strings.TrimSpace(string(owner)))
	}
	d.lock = f
	// Written in place: a new file of that name would not be the locked one.
	if err := os.WriteFile(f.Name(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		d.close()
		return fmt.Errorf("note the owner of the state folder: %w", err)
	}
	return nil
}

// close gives the folder back and removes a temporary one.
func (d *stateDir) close() {
	if d.temporary {
		_ = os.RemoveAll(d.path)
	}
	_ = d.lock.Close()
}

func (d *stateDir) file(name string) string { return filepath.Join(d.path, name) }

// listen opens the API server's port: the wanted one, or with 0 the folder's last one, so that kubeconfigs given out earlier
// stay valid, or any free one. The listener is handed to the API server as it is: a port that is only looked up and opened
// again later may be gone by then.
func (d *stateDir) listen(wanted int) (*net.TCPListener, error) {
	if wanted != 0 {
		l, err := listenLoopback(wanted)
		if err != nil {
			return nil, fmt.Errorf("port %d: %w; choose another with --port, or 0 for any free one", wanted, err)
		}
		return l, d.rememberPort(l)
	}
	if last := d.lastPort(); last != 0 {
		if l, err := listenLoopback(last); err == nil {
			return l, nil
		}
	}
	l, err := listenLoopback(0)
	if err != nil {
		return nil, fmt.Errorf("no free port on 127.0.0.1: %w", err)
	}
	return l, d.rememberPort(l)
}

// lastPort is the port of the previous run, 0 when there was none or the file makes no sense.
func (d *stateDir) lastPort() int {
	b, err := os.ReadFile(d.file(portName))
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || port < 1 || port > 65535 {
		return 0
	}
	return port
}

func (d *stateDir) rememberPort(l *net.TCPListener) error {
	port := l.Addr().(*net.TCPAddr).Port
	if err := writeFileAtomic(d.file(portName), []byte(strconv.Itoa(port)+"\n"), 0o600); err != nil {
		_ = l.Close()
		return fmt.Errorf("remember the port: %w", err)
	}
	return nil
}

func listenLoopback(port int) (*net.TCPListener, error) {
	return net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
}
