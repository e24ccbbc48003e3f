package cli

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"

	"github.com/spf13/cobra"

	catalogv1 "github.com/towpath-dev/towpath/gen/towpath/catalog/v1"
	errorsv1 "github.com/towpath-dev/towpath/gen/towpath/errors/v1"
	"github.com/towpath-dev/towpath/internal/errs"
)

// maxSecret is how long a sealed value may be: its ciphertext must fit into a variable.
const maxSecret = 40 << 10

func (t *tow) secretCmd() *cobra.Command {
	return t.group("secret", "Encrypt secrets for a cluster", `Secrets never pass through Towpath; docs/secrets.md tells where they come from. For environment types with the strategy sealed-secrets a
value is encrypted on this machine, for one Secret of one environment, and its ciphertext is what a variable carries.`,
		"  tow secret seal payments/api-key -e shop/prod --cert sealed.pem --from-file key.txt > key.sealed\n  tow var set PAYMENTS_KEY --secret payments/api-key --sealed-file key.sealed -e shop/prod",
		t.secretSealCmd())
}

type sealFlags struct{ env, namespace, cert, file string }

func (t *tow) secretSealCmd() *cobra.Command {
	var f sealFlags
	cmd := &cobra.Command{
		Use: "seal NAME/KEY -e APP/ENV --cert FILE", Short: "Encrypt a value for the Sealed Secrets controller", Args: exactArgs("NAME/KEY: a Secret and a key of it"),
		Long: `Encrypts a value with the certificate of a cluster's Sealed Secrets controller (kubeseal --fetch-cert writes it) and prints the ciphertext.
It is bound to the Secret's name and the environment's namespace: nothing else can be made of it. The value is read from --from-file, from
the terminal without showing it, or from standard input as it is, line breaks included. It leaves this machine encrypted only.`,
		Example: `  tow secret seal payments/api-key -e shop/prod --cert sealed.pem > key.sealed
  printf %s "$KEY" | tow secret seal payments/api-key --namespace shop-prod --cert sealed.pem | \
    tow var set PAYMENTS_KEY --secret payments/api-key --sealed-file - -e shop/prod`,
	}
	t.envFlagVar(cmd, &f.env, "the environment in whose namespace the Secret will be, such as shop/prod")
	cmd.Flags().StringVar(&f.namespace, "namespace", "", "the namespace, without asking the server for the environment's")
	cmd.Flags().StringVar(&f.cert, "cert", "", "the controller's certificate, a PEM file")
	cmd.Flags().StringVar(&f.file, "from-file", "", "a file whose whole content is the value")
	cmd.MarkFlagsMutuallyExclusive("env", "namespace")
	cmd.RunE = t.run(func(ctx context.Context, args []string) error {
		ref, err := secretReference("what is sealed,", args[0])
		if err != nil {
			return err
		}
		if f.cert == "" {
			return usagef("which certificate? give --cert; `kubeseal --fetch-cert > sealed.pem` writes the cluster's")
		}
		key, err := readCertificate(f.cert)
		if err != nil {
			return err
		}
		namespace, err := t.namespaceOf(ctx, &f)
		if err != nil {
			return err
		}
		value, err := t.readSecretValue(f.file)
		if err != nil {
			return err
		}
		sealed, err := seal(key, namespace+"/"+ref.GetName(), value)
		if err != nil {
			return err
		}
		t.printf("%s\n", sealed)
		return nil
	})
	return cmd
}

func (t *tow) namespaceOf(ctx context.Context, f *sealFlags) (string, error) {
	if f.namespace != "" {
		return f.namespace, nil
	}
	name, err := envFlag(f.env)
	if err != nil {
		return "", usagef("for which namespace? give -e, such as -e shop/prod, or --namespace")
	}
	c, err := t.api()
	if err != nil {
		return "", err
	}
	e, err := c.GetEnvironment(ctx, &catalogv1.GetEnvironmentRequest{Name: name})
	return e.GetNamespace(), err
}

// readSecretValue reads a value that is never shown, and never an argument, which other users of the machine can see.
func (t *tow) readSecretValue(file string) (value []byte, err error) {
	switch {
	case file != "":
		value, err = readLimited(file)
	case t.InTerminal:
		fmt.Fprint(t.Stderr, "Value: ")
		var line string
		line, err = t.ReadSecret()
		fmt.Fprintln(t.Stderr)
		value = []byte(line)
	default:
		value, err = readAll("standard input", t.Stdin)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the value: %w", err)
	case len(value) == 0:
		return nil, usagef("the value is empty; give it with --from-file or on standard input")
	case len(value) > maxSecret:
		return nil, usagef("the value has %d bytes, at most %d can be sealed into a variable", len(value), maxSecret)
	}
	return value, nil
}

// readCertificate reads the controller's public key.
func readCertificate(file string) (*rsa.PublicKey, error) {
	text, err := readLimited(file)
	if err != nil {
		return nil, err
	}
	wrong := errs.New(errs.Invalid, errorsv1.Reason_REASON_INVALID_FIELD, "%s is no certificate of a Sealed Secrets controller; `kubeseal --fetch-cert` writes one", file)
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, wrong
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, wrong.Because(err)
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.Size() < 256 {
		return nil, wrong
	}
	return key, nil
}

// seal encrypts a value as the Sealed Secrets controller decrypts it: a session key by RSA-OAEP with SHA-256 under the label
// namespace/name, and the value by AES-256-GCM with that key, which is used once, so that its nonce may be zero.
func seal(key *rsa.PublicKey, label string, value []byte) (string, error) {
	session := make([]byte, 32)
	if _, err := rand.Read(session); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	block, err := aes.NewCipher(session)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, key, session, []byte(label))
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	out := binary.BigEndian.AppendUint16(nil, uint16(len(wrapped))) //nolint:gosec // an RSA key of 65 kB has no certificate
	out = append(out, wrapped...)
	out = gcm.Seal(out, make([]byte, gcm.NonceSize()), value, nil)
	return base64.StdEncoding.EncodeToString(out), nil
}
