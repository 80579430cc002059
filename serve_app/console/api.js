// Calls of the REST API. Addresses are relative, so that the page works below any path.

// A failed call; `message` is one line. `retryAfter_s` is 0 unless the service sent Retry-After.
export class Failure extends Error {
  constructor(message, status = 0, retryAfter_s = 0) {
    super(message);
    this.status = status;
    this.retryAfter_s = retryAfter_s;
  }
}

// The JSON of the answer; null if there is none. Throws Failure, or an AbortError.
async function call(method, address, request) {
  const answer = await send(method, address, request);
  return answer.status === 204 ? null : parsed(await answer.text());
}

// Undefined, null and empty query parameters are left out.
async function send(method, address, { query = {}, body, etag, signal } = {}) {
  const parameters = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = parameters.length ? `?${new URLSearchParams(parameters)}` : "";
  const options = { method, signal, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  if (etag !== undefined) options.headers["If-Match"] = etag;
  let answer;
  try {
    answer = await fetch(address + search, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The service does not answer.");
  }
  if (!answer.ok) throw await failure(answer);
  return answer;
}

// Parses JSON. Integers too large for JavaScript stay as written, if the browser supports that.
export const parsed = (text) =>
  JSON.parse(text, (_name, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source && JSON.rawJSON
      ? JSON.rawJSON(context.source)
      : value);

async function failure(answer) {
  let detail = "";
  try {
    ({ detail } = await answer.json());
  } catch {
    // not an answer of the API, but of a proxy, for example
  }
  const retryAfter_s = Number(answer.headers.get("Retry-After")) || 0;
  return new Failure(detail ? sentence(detail) : `The service answered ${answer.status}.`, answer.status, retryAfter_s);
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

const CHANGED = "Somebody else has changed this memory meanwhile. Load the memories again, and then change it.";

const path = (memory) => `v1/memories/${encodeURIComponent(memory.id)}`;
const agentOf = (memory) => ({ agent_id: memory.agent_id });

export const agents = (after) => call("GET", "v1/agents", { query: { limit: 100, after } });
export const users = (agent, after) =>
  call("GET", `v1/agents/${encodeURIComponent(agent)}/users`, { query: { limit: 100, after } });
export const count = (scope, signal) => call("GET", "v1/memories/count", { query: scope, signal });
export const list = (query, signal) => call("GET", "v1/memories", { query, signal });
export const search = (body, signal) => call("POST", "v1/memories/search", { body, signal });
export const timeline = (query, signal) => call("GET", "v1/memories/timeline", { query, signal });

// Fails if somebody else has changed the memory since it was read.
export async function change(memory, patch) {
  const answer = await send("GET", path(memory), { query: agentOf(memory) });
  const now = parsed(await answer.text());
  if (now.updated_at !== memory.updated_at) throw new Failure(CHANGED, 412);
  const etag = answer.headers.get("ETag");
  return call("PATCH", path(memory), { query: agentOf(memory), body: patch, etag });
}

export const remove = (memory) => call("DELETE", path(memory), { query: agentOf(memory) });
export const sources = (memory) => call("GET", `${path(memory)}/sources`, { query: agentOf(memory) });
export const restore = (memory) => call("POST", `${path(memory)}/restore`, { query: agentOf(memory) });

// The text of /metrics; null if the service has none.
export async function metrics(signal) {
  const answer = await fetch("metrics", { signal });
  return answer.ok ? answer.text() : null;
}
