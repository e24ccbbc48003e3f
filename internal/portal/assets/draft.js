// A draft that this page has made: the link to it, and its deployment.
import { get, post } from "./api.js";
import { h, short } from "./ui.js";
import { planned } from "./plan.js";

export const draftLink = (name) => h("a", { href: "#/" + name.split("/")[1] + "/drafts/" + encodeURIComponent(short(name)) }, short(name));

// deployDraft plans a draft for the environment and deploys it; it is gone then.
export async function deployDraft(name, act) {
  const d = await get("/v1/" + name);
  const change = { draft: name, baseSet: d.baseSet, setOperations: d.operations, overlayOperations: d.overlayOperations, variables: d.variables };
  return planned(act.name, `Deploy the draft ${short(name)} to ${act.id}`, { change }, {
    send: (body) => post(`/v1/${name}:deploy`, { ...body, environment: act.name, delete: act.may("manageDrafts") }, { timeout: 60000 }),
  });
}
