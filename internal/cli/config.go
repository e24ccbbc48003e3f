package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	yaml "go.yaml.in/yaml/v3"

	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

const (
	defaultServer  = "127.0.0.1:7081"
	defaultContext = "default"
)

// config is the config file: the servers that somebody works with. It holds tokens, so only its owner may read it.
type config struct {
	// Current is the context that is used when none is named.
	Current string `yaml:"current,omitempty"`
	// Contexts are the servers by the names that their user gave them.
	Contexts map[string]*serverContext `yaml:"contexts,omitempty"`
}

// serverContext is one server and the token for it.
type serverContext struct {
	Server string `yaml:"server"`
	Token  string `yaml:"token,omitempty"`
	// TokenPath is a file that the token is read from each time, TokenExec a command that writes it: for tokens of identity
	// providers, which do not live long.
	TokenPath string   `yaml:"token-path,omitempty"`
	TokenExec []string `yaml:"token-exec,omitempty"`
	// TLS asks for an encrypted connection; CAFile names the authority that signed the server's certificate.
	TLS    bool   `yaml:"tls,omitempty"`
	CAFile string `yaml:"ca-file,omitempty"`
}

func (t *tow) configPath() (string, error) {
	if p := t.Getenv("TOW_CONFIG"); p != "" {
		return p, nil
	}
	dir := t.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := t.Getenv("HOME")
		if home == "" {
			return "", usagef("neither TOW_CONFIG nor HOME is set, so there is no place for the config file; set TOW_CONFIG")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "tow", "config.yaml"), nil
}

// loadConfig reads the config file; a missing one is an empty one.
func (t *tow) loadConfig() (*config, error) {
	path, err := t.configPath()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &config{Contexts: map[string]*serverContext{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the config file: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 && !t.completing {
		t.notef("warning: %s holds tokens and others can read it; chmod 600 it", path)
	}
	c := &config{}
	if err := yaml.Unmarshal(b, c); err != nil {
		return nil, errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD,
			"the config file %s cannot be read: %v; correct it, or remove it and run `tow login` again", path, err)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]*serverContext{}
	}
	return c, nil
}

// saveConfig replaces the config file in one step, so that a crash leaves the old or the new one, readable by its owner alone.
func (t *tow) saveConfig(c *config) (string, error) {
	path, err := t.configPath()
	if err != nil {
		return "", err
	}
	b, err := yaml.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("write the config file: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("write the config file: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".config-*") // made with mode 0600
	if err != nil {
		return "", fmt.Errorf("write the config file: %w", err)
	}
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write the config file: %w", err), os.Remove(tmp.Name()))
	}
	return path, nil
}

// connection says where to connect to and as whom: flags first, then the environment, then the config file. A token goes only
// to the server that it was stored for, whatever --server says.
func (t *tow) connection() (serverContext, error) {
	c, err := t.loadConfig()
	if err != nil {
		return serverContext{}, err
	}
	name := t.contextName
	if name == "" {
		name = c.Current
	}
	stored := c.Contexts[name]
	if stored == nil {
		if t.contextName != "" {
			return serverContext{}, errs.New(errs.NotFound, errorsv1.Reason_REASON_NOT_FOUND, "there is no context %q", name).
				With("tow_hint", "tow context list shows them, tow login makes one")
		}
		stored = &serverContext{}
	}
	out := *stored
	if server := firstOf(t.server, t.Getenv("TOW_SERVER")); server != "" && server != out.Server {
		out = serverContext{Server: server}
	}
	if out.Server == "" {
		out.Server = defaultServer
	}
	switch token, path := t.Getenv("TOW_TOKEN"), t.Getenv("TOW_TOKEN_FILE"); {
	case token != "":
		out.Token = token
	case path != "":
		out.Token, out.TokenPath, out.TokenExec = "", path, nil
	}
	return t.withToken(out)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
