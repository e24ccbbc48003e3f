package score_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	rendererv1 "github.com/towpath-dev/towpath/gen/towpath/renderer/v1"
)

// document puts parts into a valid document: lines of the container, and of the root.
func document(container, root string) []byte {
	var b strings.Builder
	b.WriteString(minimal)
	if container != "" {
		fmt.Fprintf(&b, "    %s\n", strings.ReplaceAll(container, "\n", "\n    "))
	}
	b.WriteString(root + "\n")
	return []byte(b.String())
}

func TestContainerRules(t *testing.T) {
	for text, want := range map[string]string{
		"image: {}":                               "containers.main.image: is given twice",
		"foo: 1":                                  "containers.main.foo: is not a known field",
		"command: sh":                             "containers.main.command: expected a list of strings, got a string",
		"args: [1]":                               "containers.main.args.0: expected a string, got the number 1: put it in quotes",
		"variables: []":                           "containers.main.variables: expected a map, got a list",
		"variables: {A: true}":                    "containers.main.variables.A: expected a string, got the boolean true: put it in quotes",
		"variables: {A: }":                        "containers.main.variables.A: expected a string, got nothing (null)",
		`variables: {"A=B": x}`:                   `containers.main.variables.A=B: the name "A=B" is not valid: expected a name that is not empty and without =`,
		`variables: {"": x}`:                      "expected a name that is not empty and without =",
		"variables: {A: '${}'}":                   "containers.main.variables.A: ${} names nothing",
		"variables: {A: '${foo.bar}'}":            `"foo" is no root: expected metadata or resources`,
		"variables: {A: '${metadata}'}":           "expected a key, such as ${metadata.name}",
		"variables: {A: '${resources}'}":          "expected a resource, such as",
		"variables: {A: '${metadata.nam}'}":       `metadata has no "nam"; did you mean "name"?`,
		"variables: {A: '${metadata.name.x}'}":    `metadata.name is a string and has no "x"`,
		"variables: {A: '${resources.x.y}'}":      `the document declares no resource "x"`,
		"files: {/a: {}}":                         `containers.main.files./a: needs exactly one of content, binaryContent and source, got none`,
		"files: {/a: {content: x, source: y}}":    "got content and source",
		"files: {/a: x}":                          "containers.main.files./a: expected a map with content, binaryContent, source, mode, noExpand, got a string",
		"files: {/a: {content: x, mode: 0644}}":   "containers.main.files./a.mode: expected a string, got the number 0644: put it in quotes",
		"files: {/a: {content: x, mode: '888'}}":  `mode: "888" is not valid: expected three octal digits`,
		"files: {/a: {content: x, noExpand: 1}}":  "noExpand: expected true or false, got the number 1",
		"files: {/a: {content: x, expand: true}}": "files./a.expand: is not a known field",
		"files: {/a: {content: [1]}}":             "files./a.content: expected a string, got a list",
		"files: {/a: {binaryContent: '*'}}":       `"*" is not valid: expected standard base64`,
		"files: {/a: {source: /etc/passwd}}":      "is an absolute path",
		"files: {/a: {source: gone.txt}}":         `the file "gone.txt" was not sent`,
		"files: {/a.b: {content: '${x.y}'}}":      `containers.main.files./a\.b.content: ${x.y}`,
		"files: [{content: x}]":                   "containers.main.files.0: needs a target",
		"files: [x]":                              "containers.main.files.0: needs a target",
		"files: [{target: /a, content: x}, {target: /a, content: y}]": `containers.main.files.1: has the target "/a", which an earlier element has`,
		"volumes: {/a: {}}": "containers.main.volumes./a.source: is required and missing",
		"volumes: {/a: {source: x, readOnly: yes please}}":                                       "readOnly: expected true or false, got a string",
		"volumes: {/a: {source: x, size: 1}}":                                                    "size: is not a known field",
		"volumes: {/a: {source: x, path: 1}}":                                                    "path: expected a string",
		"volumes: [{target: /a, source: x, read_only: true, readOnly: true}]":                    "is the old spelling of readOnly",
		"volumes: {/a: {source: '${resources.x}'}}":                                              `the document declares no resource "x"`,
		"resources: {limits: {memory: 1.5.5Gi}}":                                                 `containers.main.resources.limits.memory: "1.5.5Gi" is not valid`,
		"resources: {limits: {memory: 0Mi}}":                                                     "memory: \"0Mi\" is not valid",
		"resources: {limits: {memory: 64k}}":                                                     "memory: \"64k\" is not valid",
		"resources: {requests: {cpu: 1.5m}}":                                                     `requests.cpu: "1.5m" is not valid`,
		"resources: {requests: {cpu: 1}}":                                                        "requests.cpu: expected a string, got the number 1: put it in quotes",
		"resources: {limits: {gpu: '1'}}":                                                        `limits.gpu: is not a known field; did you mean "cpu"?`,
		"resources: {limit: {}}":                                                                 `resources.limit: is not a known field; did you mean "limits"?`,
		"livenessProbe: {}":                                                                      "containers.main.livenessProbe: needs httpGet or exec",
		"livenessProbe: {tcpSocket: {}}":                                                         "livenessProbe.tcpSocket: is not a known field",
		"livenessProbe: {exec: {}}":                                                              "exec.command: is required and missing",
		"livenessProbe: {exec: {command: x}}":                                                    "exec.command: expected a list of strings",
		"readinessProbe: {httpGet: {port: 80}}":                                                  "readinessProbe.httpGet.path: is required and missing",
		"readinessProbe: {httpGet: {path: /}}":                                                   "readinessProbe.httpGet.port: is required and missing",
		"readinessProbe: {httpGet: {path: /, port: http}}":                                       "port: expected a port number from 1 to 65535, got a string",
		"readinessProbe: {httpGet: {path: /, port: 80, scheme: http}}":                           `scheme: "http" is not valid: expected HTTP or HTTPS; did you mean "HTTP"?`,
		"readinessProbe: {httpGet: {path: /, port: 80, host: 1}}":                                "host: expected a string",
		"readinessProbe: {httpGet: {path: /, port: 80, httpHeaders: {}}}":                        "httpHeaders: expected a list of {name, value}",
		"readinessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: 'a b', value: x}]}}": `httpHeaders.0.name: "a b" is not valid`,
		"readinessProbe: {httpGet: {path: /, port: 80, httpHeaders: [{name: a}]}}":               "httpHeaders.0.value: is required and missing",
		"before: {main: {ready: started}}":                                                       "a container cannot start before itself",
		"before: {other: {ready: started}}":                                                      `there is no container "other"`,
		"before: {other: {}}":                                                                    "before.other.ready: is required and missing",
		"before: {other: {ready: soon}}":                                                         `ready: "soon" is not valid: expected started or healthy or complete`,
		"args: &x [*x]":                                                                          "contains itself",
		"variables: {A: !!binary aGk=}":                                                          "has the YAML tag !!binary",
		"variables: {A: !custom x}":                                                              "has the YAML tag !custom",
		"variables: {? [a] : b}":                                                                 "has a key that is not a string",
		"variables: {A: a, A: b}":                                                                "containers.main.variables.A: is given twice; first at line 7",
		"variables: {<<: x}":                                                                     "the YAML merge key takes a map or a list of maps",
		"variables: {A: 9007199254740993}":                                                       "is beyond 9007199254740992 (2^53)",
		"variables: {A: .nan}":                                                                   "is not a finite number",
		"variables: {A: 123456789012345678901234567890}":                                         "is beyond",
	} {
		t.Run(text, func(t *testing.T) {
			if got := problems(t, &rendererv1.ScoreFile{Content: document(text, "")}); !strings.Contains(got, want) {
				t.Errorf("want …%s…, got\n%s", want, got)
			}
		})
	}
}

func TestDocumentRules(t *testing.T) {
	long := strings.Repeat("a", 64)
	for root, want := range map[string]string{
		"extra: 1":                                                               "extra: is not a known field",
		"service: {}\nservice: {}":                                               "service: is given twice; first at line",
		"service: {port: {}}":                                                    `service.port: is not a known field; did you mean "ports"?`,
		"service: {ports: {x: {port: 1}}}":                                       `service.ports.x: the name "x" is not valid`,
		"service: {ports: {http: {}}}":                                           "service.ports.http.port: is required and missing",
		"service: {ports: {http: {port: 0}}}":                                    "0 is not a port",
		"service: {ports: {http: {port: 65536}}}":                                "65536 is not a port",
		"service: {ports: {http: {port: 80.5}}}":                                 "80.5 is not a port",
		"service: {ports: {http: {port: '80'}}}":                                 "expected a port number from 1 to 65535, got a string",
		"service: {ports: {http: {port: 80, targetPort: -1}}}":                   "service.ports.http.targetPort: -1 is not a port",
		"service: {ports: {http: {port: 80, protocol: tcp}}}":                    `protocol: "tcp" is not valid: expected TCP or UDP; did you mean "TCP"?`,
		"service: {ports: {http: {port: 80, name: x}}}":                          "name: is not a known field",
		"service: {ports: {http: {port: 80}, http2: {port: 80}}}":                `80/TCP is the port of "http" already`,
		"resources: []":                                                          "resources: expected a map, got a list",
		"resources: {DB: {type: postgres}}":                                      `the name "DB" is not valid`,
		"resources: {db: {}}":                                                    "resources.db.type: is required and missing",
		"resources: {db: postgres}":                                              "resources.db: expected a map with type, class, id, metadata, params, got a string",
		"resources: {db: {type: a_b}}":                                           `type: "a_b" is not valid`,
		"resources: {db: {type: postgres, class: -x}}":                           `class: "-x" is not valid`,
		"resources: {db: {type: postgres, id: A.b}}":                             `id: "A.b" is not valid`,
		"resources: {db: {type: postgres, id: a..b}}":                            `id: "a..b" is not valid`,
		"resources: {db: {type: postgres, id: " + long + "}}":                    "is not valid",
		"resources: {db: {type: postgres, properties: {}}}":                      "properties: is not a known field",
		"resources: {db: {type: postgres, params: x}}":                           "params: expected a map, got a string",
		"resources: {db: {type: postgres, metadata: x}}":                         "metadata: expected a map, got a string",
		"resources: {db: {type: postgres, metadata: {annotations: {a/b/c: x}}}}": "resources.db.metadata.annotations",
		"resources: {db: {type: postgres, params: {a: [{b: '${x}'}]}}}":          `resources.db.params.a.0.b: ${x}: "x" is no root`,
		"resources: {db: {type: postgres, params: {a: '${resources.cb.x}'}}}":    `the document declares no resource "cb"; did you mean "db"?`,
		"---\nmore: 1": "holds a second YAML document",
		"\tx: 1":       "is not YAML",
		"x: *nope":     "is not YAML: unknown anchor 'nope' referenced",
	} {
		t.Run(root, func(t *testing.T) {
			if got := problems(t, &rendererv1.ScoreFile{Content: document("", root)}); !strings.Contains(got, want) {
				t.Errorf("want …%s…, got\n%s", want, got)
			}
		})
	}
}

func TestRootRules(t *testing.T) {
	for text, want := range map[string]string{
		"":          "score.yaml:1:1: is empty",
		"# nothing": "score.yaml:1:1: is empty",
		"[]":        "score.yaml:1:1: expected a Score document",
		"text":      "expected a Score document",
		"{}":        "apiVersion: is required and missing",
		"apiVersion: score.dev/v2\nmetadata: {name: ab}\ncontainers: {main: {image: x}}":                                                                                 `score.yaml:1:13 apiVersion: "score.dev/v2" is not valid: expected score.dev/v1b1`,
		"apiVersion: score.dev/v1b1\nmetadata: {}\ncontainers: {main: {image: x}}":                                                                                       "metadata.name: is required and missing",
		"apiVersion: score.dev/v1b1\nmetadata: {name: a}\ncontainers: {main: {image: x}}":                                                                                `metadata.name: "a" is not valid`,
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab, annotations: {a: b}}\ncontainers: {main: {image: x}}":                                                          `metadata.annotations.a: the name "a" is not valid`,
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab, annotations: {A.b/cd: b}}\ncontainers: {main: {image: x}}":                                                     "is not valid",
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab, annotations: {ab: 1}}\ncontainers: {main: {image: x}}":                                                         "metadata.annotations.ab: expected a string",
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab}\ncontainers: {}":                                                                                               "containers: needs at least one container",
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab}\ncontainers: {m: {image: x}}":                                                                                  `containers.m: the name "m" is not valid`,
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab}\ncontainers: {main: {}}":                                                                                       "containers.main.image: is required and missing",
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab}\ncontainers: {main: {image: ''}}":                                                                              "containers.main.image: \"\" is not valid",
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab}\ncontainers: {main: {image: .}}":                                                                               `is ".", so the image must be given when deploying`,
		"apiVersion: score.dev/v1b1\nmetadata: {name: ab}\ncontainers: {aa: {image: x, before: {bb: {ready: started}}}, bb: {image: x, before: {aa: {ready: started}}}}": "the containers wait for each other: aa -> bb -> aa",
		"a: \xff": "score.yaml:1:4: is not UTF-8",
		"a: [":    "is not YAML",
	} {
		t.Run(text, func(t *testing.T) {
			if got := problems(t, &rendererv1.ScoreFile{Content: []byte(text)}); !strings.Contains(got, want) {
				t.Errorf("want …%s…, got\n%s", want, got)
			}
		})
	}
}

func TestValidSpellings(t *testing.T) {
	for name, content := range map[string][]byte{
		"JSON":                       []byte(`{"apiVersion":"score.dev/v1b1","metadata":{"name":"ab"},"containers":{"main":{"image":"x"}}}`),
		"a byte order mark":          []byte("\ufeff" + minimal),
		"carriage returns":           []byte(strings.ReplaceAll(minimal, "\n", "\r\n")),
		"memory and cpu units":       document("resources: {limits: {memory: 0.5Gi, cpu: '1.5'}, requests: {memory: 128M, cpu: 100m}}", ""),
		"the largest number":         document("", "resources: {db: {type: postgres, params: {n: 9007199254740992, m: -9007199254740992, f: 0.1}}}"),
		"an annotation with a host":  []byte("apiVersion: score.dev/v1b1\nmetadata: {name: ab, annotations: {apps.example.com/b_C.d: x}}\ncontainers: {main: {image: x}}"),
		"deprecated empty lists":     document("files: []\nvolumes: []", ""),
		"dollars that mean nothing":  document("variables: {A: $HOME, B: '$${resources.x}', C: '${open'}", ""),
		"no expansion, no reference": document("files: {/a: {content: '${nope.x}', noExpand: true}}\nargs: ['${nope.x}']", ""),
		"ids of several labels":      document("", "resources: {db: {type: Postgres-2, class: Large, id: a--b.c-d.e1}}"),
		"number-like keys":           document("variables: {1: one, true: x}", ""),
	} {
		t.Run(name, func(t *testing.T) { load(t, &rendererv1.ScoreFile{Content: content}) })
	}
}

// What is made to hurt must be refused soon: with a limit on work, not on time. The deadline here is generous and only tells
// apart "soon" and "never".
func TestHostileDocumentsAreRefusedSoon(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	var references strings.Builder
	references.WriteString(minimal + "    variables:\n")
	for i := range 5_000 {
		fmt.Fprintf(&references, "      A%d: ${metadata.nope%d}\n", i, i)
	}
	var manyKeys strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&manyKeys, "key%d: x\n", i)
	}
	for name, content := range map[string]string{
		"aliases of aliases":   bomb.String(),
		"flow nesting":         strings.Repeat("[", 500_000),
		"closed flow nesting":  strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"block nesting":        strings.Repeat("- ", 100_000),
		"map nesting":          strings.Repeat("{a: ", 200_000),
		"comments":             strings.Repeat("#\n", 200_000),
		"broken references":    references.String(),
		"unknown fields":       manyKeys.String(),
		"a very long line":     "a: " + strings.Repeat("x", 1_000_000),
		"many quotes":          strings.Repeat("\"", 1_000_000),
		"dollars and braces":   minimal + "    variables: {A: \"" + strings.Repeat("$${", 200_000) + "\", B: 1}",
		"merge keys of merges": strings.Replace(bomb.String(), "[x, x", "[{b: 1}, {b: 1}", 1) + "m: {<<: *a12}",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			problems(t, &rendererv1.ScoreFile{Content: []byte(content)})
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
