package cli_test

import (
	"strings"
	"testing"
)

// Mistakes in the command line end with 2, say what is wrong on standard error alone, and ask no server.
func TestUsageErrors(t *testing.T) {
	f := startFake(t)
	for line, says := range map[string]string{
		`nope`:                                       `unknown command "nope" for "tow"`,
		`app crate`:                                  `did you mean "create"`,
		`app list --nope`:                            `unknown flag: --nope`,
		`app create`:                                 `tow app create needs the id of the new application`,
		`app get shop more`:                          `takes at most 1 argument`,
		`app get a/b`:                                `"a/b" is no id of an application`,
		`app list -o xml`:                            `--output "xml" is none of table, wide, json, yaml, name`,
		`app update shop`:                            `nothing to change; give at least one of --display-name, --owner`,
		`app create shop --label tier`:               `neither key=value nor key-`,
		`env get shop`:                               `"shop" is no environment; give application and environment such as shop/dev`,
		`deploy -f score.yaml`:                       `give -e, such as -e shop/dev`,
		`deploy -e shop/dev`:                         `nothing to change; give a Score file with -f`,
		`deploy -e shop/dev --image nginx:1`:         `name it with -f`,
		`deploy -e shop/dev -f a -f b --set x=y`:     `changes one Score file, but 2 are given`,
		`deploy -e shop/dev -f a --plan --wait`:      `plan`,
		`set -e shop/dev`:                            `needs KEY=VALUE, or KEY- to unset`,
		`set -e shop/dev LOG_LEVEL`:                  `"LOG_LEVEL" is neither KEY=VALUE nor KEY-`,
		`set -e shop/dev A=1 A-`:                     `A is both set and unset`,
		`set -e shop/dev A=1 --in-set`:               `name it with -w`,
		`set-image api -e shop/dev`:                  `tow set-image needs an image`,
		`scale api many -e shop/dev`:                 `"many" is no number of replicas`,
		`scale api -e shop/dev`:                      `needs the number of its replicas`,
		`scale api 3`:                                `give -e, such as -e shop/dev`,
		`draft create shop`:                          `"shop" is no draft; give application and draft such as shop/next`,
		`draft create shop/x --set a=b`:              `--set "a=b" is not PATH=VALUE`,
		`draft create shop/x --set-json /a={`:        `the value is no JSON`,
		`draft create shop/x --unset a`:              `--unset "a" is no path`,
		`draft edit shop/next`:                       `nothing to change; give at least one of --set`,
		`draft delete shop/next`:                     `say --yes`,
		`draft deploy shop/next -e dev`:              `"dev" is no environment`,
		`plan -e shop/dev --rerender --variable A=B`: `--rerender is about a rollback`,
		`plan -e shop/dev --removal --remove api`:    `a plan is of one thing`,
		`diff shop/dev`:                              `give two, such as shop/dev shop/staging`,
		`rollback -e shop/dev --to x`:                `"x" is no deployment`,
		`history -e shop/dev --limit -1`:             `--limit is negative`,
		`drift list`:                                 `or -A for all`,
		`drift list -A -e shop/dev`:                  ``,
		`drift show abc`:                             `give -e, such as -e shop/dev`,
		`events --since yesterday`:                   `neither a duration such as 12h or 30d nor a time`,
		`events -o yaml`:                             `is none of table, json`,
		`token create ci`:                            `none of viewer, deployer, developer, operator, admin`,
		`target create eu --engine spaceship`:        `--engine "spaceship" is not known`,
		`render`:                                     `give -f, such as -f score.yaml`,
		`app delete shop`:                            `this would delete the application shop; there is no terminal to ask at, so say --yes`,
		`env delete shop/dev`:                        `say --yes`,
		`rollback -e shop/dev`:                       `say --yes`,
		`drift revert -e shop/dev`:                   `say --yes`,
		`token delete ci`:                            `say --yes`,
	} {
		t.Run(line, func(t *testing.T) {
			r := run(t, f, strings.Fields(line)).want(t, 2)
			if !strings.HasPrefix(r.stderr, "error: ") || !strings.Contains(r.stderr, says) || !strings.Contains(r.stderr, "\nhint: tow") || r.stdout != "" {
				t.Errorf("want …%s…\nstdout:\n%s\nstderr:\n%s", says, r.stdout, r.stderr)
			}
		})
	}
	if len(f.calls) > 0 {
		t.Errorf("the server was asked: %v", f.calls)
	}
}
