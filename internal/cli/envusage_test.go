package cli_test

import (
	"strings"
	"testing"
)

// Mistakes about environments end with 2 before any server is asked.
func TestEnvironmentUsageErrors(t *testing.T) {
	f := startFake(t)
	for line, says := range map[string]string{
		`env create shop`:                                   `"shop" is no environment`,
		`env create shop/new --from shop`:                   `"shop" is no environment`,
		`env create shop/new --from shop/dev#x`:             `"x" is no deployment`,
		`env create shop/new --ttl soon`:                    `--ttl "soon" is no time of at least a minute`,
		`env create shop/new --ttl 3s`:                      `give one such as 90m, 72h or 3d`,
		`env create shop/new --image a:1`:                   `name it with -f`,
		`env create shop/new --wait`:                        `--wait waits for the first deployment`,
		`env create shop/new --from shop/dev --plan --wait`: `plan`,
		`env extend shop/dev`:                               `how long? give --ttl`,
		`env extend shop/dev --ttl -1h`:                     `--ttl "-1h" is no time`,
		`env keep`:                                          `needs an environment such as shop/pr-7`,
		`env delete shop/dev`:                               `say --yes`,
		`promote shop/dev`:                                  `needs the environment to copy to`,
		`promote shop/dev#0 shop/new`:                       `"0" is no deployment`,
		`rollback -e shop/dev --rerender`:                   `say --yes`,
		`type create preview --default-ttl 5`:               `--default-ttl "5" is no time`,
	} {
		t.Run(line, func(t *testing.T) {
			r := run(t, f, strings.Fields(line))
			r.want(t, 2)
			if !strings.Contains(r.stderr, says) {
				t.Errorf("stderr = %q, want %q", r.stderr, says)
			}
		})
	}
	for _, method := range []string{"CreateEnvironment", "ExtendEnvironment", "DeleteEnvironment", "Promote", "Rollback", "PlanDeployment"} {
		if n := len(f.called(method)); n > 0 {
			t.Errorf("%s was called %d times", method, n)
		}
	}
}
