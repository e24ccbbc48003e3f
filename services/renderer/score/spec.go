package score

import "sync"

// APIVersion is the only version of the specification there is.
const APIVersion = "score.dev/v1b1"

func text(doc string, r rule) *shape { return &shape{kind: stringShape, doc: doc, rule: r} }

func oneOf(doc string, def any, values ...string) *shape {
	return &shape{kind: stringShape, doc: doc, enum: values, def: def}
}

func texts(doc string) *shape {
	return &shape{kind: listShape, doc: doc, values: text("", anyString)}
}

func flag(doc string) *shape { return &shape{kind: boolShape, doc: doc, def: false} }

func port(doc string) *shape { return &shape{kind: portShape, doc: doc} }

func object(doc string, fields ...field) *shape {
	return &shape{kind: objectShape, doc: doc, fields: fields}
}

func dict(doc string, keys rule, values *shape) *shape {
	return &shape{kind: dictShape, doc: doc, keys: keys, values: values}
}

func need(name string, s *shape) field { return field{name: name, required: true, shape: s} }

func may(name string, s *shape, also ...string) field {
	return field{name: name, shape: s, also: also}
}

var annotations = dict("Annotations: text by name. Those of the workload are copied to its pods, and those of towpath.dev/ steer what becomes of it.",
	annotationRule, text("", anyString))

// documentShape is the whole document, after upgrades.
var documentShape = object("A Score workload: what should run and what it needs, without a word about where.",
	need("apiVersion", oneOf("The version of the specification.", nil, APIVersion)),
	need("metadata", metadataShape),
	need("containers", &shape{kind: dictShape, doc: "The containers of the workload by name, at least one. They run together in one pod.", keys: labelRule, values: containerShape, least: 1}),
	may("service", serviceShape, "services", "ports"),
	may("resources", resourcesShape, "dependencies"),
)

var resourcesShape = dict("What the workload needs of its environment, by the name under which placeholders refer to it: databases, routes, volumes, variables.",
	labelRule, resourceShape)

// setShape is that of the resources of a set, outside of workloads.
var setShape = object("", may("resources", resourcesShape))

var metadataShape = &shape{kind: objectShape, open: true, name: "metadata",
	doc: "What the workload is called, and anything else that is worth saying about it. Placeholders refer to it: ${metadata.name}.",
	fields: []field{
		need("name", text("The name of the workload: that of its Kubernetes objects, and unique in the application.", labelRule)),
		may("annotations", annotations),
	}}

var serviceShape = object("The ports on which others reach the workload. A Kubernetes Service is made of them.",
	may("ports", dict("The ports by name.", labelRule, &shape{kind: objectShape, name: "port", doc: "A port of the Service.", fields: []field{
		need("port", port("The port on which others reach the workload.")),
		may("protocol", oneOf("The protocol of the port.", "TCP", "TCP", "UDP")),
		may("targetPort", port("The port on which the container listens; the same as port when it is not given."), "containerPort"),
	}}), "port"),
)

var containerShape = &shape{kind: objectShape, name: "container", doc: "A container of the workload.", fields: []field{
	need("image", text(`The image, such as registry.example.com/shop/api:1.4.2. "." means that it is given when deploying: --image.`, imageRule)),
	may("command", texts("The program to run, in place of the image's entrypoint. Placeholders are not replaced in it."), "entrypoint", "cmd"),
	may("args", texts("The arguments of the program, in place of the image's. Placeholders are not replaced in them."), "arguments"),
	may("variables", dict("Environment variables: text by name, in which placeholders are replaced. Quote numbers and booleans.", variableRule, text("", anyString)), "env", "environment"),
	{name: "files", older: fileListShape, shape: dict("Files to be put into the container, by their absolute path in it. What else is in the folder stays visible.", rule{words: "a path"}, fileShape)},
	{name: "volumes", older: volumeListShape, also: []string{"volumeMounts", "mounts"},
		shape: dict("Volumes to be mounted, by their absolute path in the container.", rule{words: "a path"}, volumeShape)},
	may("resources", object("How much of the machine the container gets.",
		may("limits", amounts("The most that it may use.")), may("requests", amounts("What is set aside for it.")))),
	may("livenessProbe", probe("Is the container alive? If not, it is restarted.")),
	may("readinessProbe", probe("Can the container serve? Until then, nothing is sent to it."), "healthcheck"),
	may("before", dict("Containers that must start before this one, by name.", rule{words: "the name of a container"},
		object("What the other container must have reached.",
			need("ready", oneOf("started: it runs. healthy: its probe succeeds. complete: it has ended well.", nil, "started", "healthy", "complete")))), "dependsOn", "depends_on"),
}}

func amounts(doc string) *shape {
	return object(doc, may("memory", text("Memory, such as 256Mi. K is 1000 bytes, Ki is 1024.", memoryRule)),
		may("cpu", text("Processor cores, such as 0.5, or thousandths of one: 250m.", cpuRule), "cpus"))
}

var fileFields = []field{
	{name: "content", shape: text("The content as text, in which placeholders are replaced.", anyString), older: texts("The lines of the content.")},
	may("binaryContent", text("The content in standard base64. Placeholders are not replaced in it.", base64Rule)),
	may("source", text("The file that has the content, relative to the Score file. In text, placeholders are replaced.", sourceRule), "path", "file"),
	may("mode", text(`The permissions as octal digits in quotes, such as "0644".`, modeRule)),
	may("noExpand", flag("Leave placeholders in the content as they are written.")),
}

var contents = []string{"content", "binaryContent", "source"}

var (
	fileShape = &shape{kind: objectShape, name: "file", doc: "A file in the container: exactly one of content, binaryContent and source.",
		fields: fileFields, exactlyOne: contents}
	volumeShape = &shape{kind: objectShape, name: "volume", doc: "A volume in the container.", fields: volumeFields}
)

var volumeFields = []field{
	need("source", text("The volume: ${resources.NAME}, where NAME is a resource of type volume.", someString)),
	may("path", text("The folder inside the volume to mount; the whole volume when it is not given.", anyString), "subPath"),
	{name: "readOnly", formerly: "read_only", shape: flag("The container cannot write to the volume.")},
}

// fileListShape and volumeListShape are older spellings: lists of what has a target.
var (
	fileListShape = &shape{kind: listShape, doc: "Older spelling: a list of files with their target.", values: &shape{kind: objectShape, name: "fileInList",
		fields: withTarget(fileFields), exactlyOne: contents}}
	volumeListShape = &shape{kind: listShape, doc: "Older spelling: a list of volumes with their target.", values: &shape{kind: objectShape, name: "volumeInList",
		fields: withTarget(volumeFields)}}
)

func withTarget(fields []field) []field {
	return append([]field{need("target", text("The absolute path in the container.", someString))}, fields...)
}

func probe(doc string) *shape {
	return &shape{kind: objectShape, doc: doc + " exec is used when both are given.", atLeastOne: []string{"httpGet", "exec"}, fields: []field{
		may("httpGet", httpGetShape), may("exec", execShape)}}
}

var execShape = &shape{kind: objectShape, name: "exec", doc: "A program in the container that ends with 0 when all is well.", fields: []field{
	need("command", &shape{kind: listShape, doc: "The program and its arguments. Placeholders are not replaced in it.", values: text("", anyString), least: 1}),
}}

var httpGetShape = &shape{kind: objectShape, name: "httpGet", doc: "An HTTP request that is answered with a status from 200 to 399 when all is well.", fields: []field{
	need("path", text("The path of the request, such as /healthz.", anyString)),
	need("port", port("The port on which the container listens.")),
	may("scheme", oneOf("The scheme of the request.", "HTTP", "HTTP", "HTTPS")),
	may("host", text("The host to ask, when it is not the pod itself.", someString)),
	may("httpHeaders", &shape{kind: listShape, doc: "Headers of the request.", values: object("",
		need("name", text("The name of the header.", headerRule)),
		need("value", text("The value of the header.", anyString)))}, "headers"),
}}

var resourceShape = &shape{kind: objectShape, name: "resource", doc: "Something that the workload needs. A resource definition of the type answers it.", fields: []field{
	need("type", text("What is needed, such as postgres, redis, route, volume, dns or environment.", typeRule)),
	may("class", text("A kind of it that the organisation offers, such as large; default when it is not given.", typeRule)),
	may("id", text("The name under which workloads share it: the same type, class and id is one resource. Without one it is the workload's own.", idRule)),
	may("metadata", &shape{kind: objectShape, open: true, doc: "Anything that the definition should know.", fields: []field{may("annotations", annotations)}}),
	may("params", &shape{kind: anyMapShape, doc: "What the definition asks for. Placeholders are replaced at any depth, and decide what is made first."}, "properties", "parameters"),
}}

// homes tells for names that mean something elsewhere in the document where that is.
var homes = sync.OnceValue(func() map[string]string {
	return map[string]string{
		"ports":       "ports belong under service.ports",
		"replicas":    `the number of replicas is the annotation "towpath.dev/replicas" under metadata.annotations`,
		"kind":        `a Score document has no kind; what becomes of it is the annotation "towpath.dev/kind" under metadata.annotations`,
		"spec":        "a Score document has no spec: what is in it stands at the root",
		"image":       "images belong under containers.<name>.image",
		"variables":   "variables belong under containers.<name>.variables",
		"env":         "variables belong under containers.<name>.variables",
		"files":       "files belong under containers.<name>.files",
		"volumes":     "volumes belong under containers.<name>.volumes",
		"annotations": "annotations belong under metadata.annotations",
		"labels":      "a Score document has no labels; the environment's type gives them, and annotations belong under metadata.annotations",
	}
})
