// A workload from a Score file: chosen or pasted, its problems by line and column, then the plan.
import { post } from "./api.js";
import { busy, dialog, field, h } from "./ui.js";

const typed = new Map(); // text by environment, kept until it is deployed

const START = `apiVersion: score.dev/v1b1
metadata:
  name: hello
containers:
  main:
    image: ghcr.io/example/hello:1.0.0
    variables:
      GREETING: Hello
`;

// addWorkload opens the dialog; replaced names the workload that the file is meant for.
export function addWorkload(view, act, replaced) {
  return dialog(replaced ? `Replace ${replaced} by a Score file` : "Add a workload", (close) => {
    const errors = h("div"), key = act.name + "/" + (replaced || "");
    const text = h("textarea", { name: "score", rows: "16", spellcheck: "false", required: true, autofocus: true, oninput: () => typed.set(key, text.value) });
    text.value = typed.get(key) ?? (replaced ? "" : START);
    let filename = "score.yaml";
    const file = h("input", { type: "file", accept: ".yaml,.yml,.json", onchange: async () => {
      if (!file.files[0]) return;
      filename = file.files[0].name;
      text.value = await file.files[0].text();
      typed.set(key, text.value);
    } });
    const image = h("input", { name: "image", spellcheck: "false" });
    return h("form", { onsubmit: (e) => {
      e.preventDefault();
      busy(e.submitter, errors, async () => {
        const score = { filename, content: base64(text.value), image: image.value };
        const { workloads = {} } = await post("/v1/workloads:load", { files: [score] });
        const names = Object.keys(workloads);
        if (replaced && !names.includes(replaced)) throw Object.assign(new Error(`the file is of the workload ${names.join()}, not of ${replaced}: change metadata.name, or add it as another workload`), { title: "Another workload" });
        const made = await act.deploy((replaced ? "Replace " : "Add ") + names.join(), { key: "score:" + names.join(), what: (names[0] in (view.set?.workloads || {}) ? "replace " : "add ") + names.join(), change: { scores: [score] } });
        if (!made) return;
        typed.delete(key);
        close(made);
      });
    } },
      h("p", null, "A Score file says what runs: image, variables, ports and what it needs. ", replaced ? "The workload becomes what the file says, in the set of this environment." : "Begin with this one, or choose yours."),
      field("From a file", file), field("Score file", text),
      field("Image (optional)", image, ["For a container whose image is ", h("code", null, "\".\""), "."]),
      errors, h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Plan"), h("button", { onclick: () => close() }, "Cancel")));
  }, true);
}

function base64(text) {
  let s = "";
  for (const b of new TextEncoder().encode(text)) s += String.fromCharCode(b);
  return btoa(s);
}
