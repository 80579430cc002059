// Parses Prometheus's text format, and computes the strip's figures.

const SAMPLE = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

const REQUESTS = "memex_http_requests_total";
const DURATION = "memex_http_request_duration_seconds_bucket";
const HITS = "memex_embedding_cache_hits_total";
const MISSES = "memex_embedding_cache_misses_total";
const HEALTHY = "ray_serve_deployment_replica_healthy";
const OWN_ROUTE = "/metrics"; // not counted, because the strip itself calls it

// A Map from each name to its samples, `{labels, value}`.
export function parse(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : SAMPLE.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] || "").matchAll(LABEL)) {
      labels[name] = value.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape]);
    }
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3].replace("+Inf", "Infinity")) });
  }
  return found;
}

// The figures between two samplings, which are `seconds` apart. A counter that fell was restarted.
// Without `before`, or without requests in between, durations are of the whole time; without `before`
// there is no rate. The cache's hit rate is always of the whole time.
export function figures(now, before, seconds) {
  const requests = total(now, REQUESTS);
  const buckets = bucketsOf(now);
  const earlier = before ? bucketsOf(before) : new Map();
  const recent = before ? new Map([...buckets].map(([le, n]) => [le, increase(n, earlier.get(le) || 0)])) : buckets;
  const isQuiet = before && !(recent.get(Infinity) > 0);
  const durations = isQuiet ? buckets : recent;
  const hits = total(now, HITS);
  const texts = hits + total(now, MISSES);
  return {
    rps: before ? increase(requests, total(before, REQUESTS)) / seconds : null,
    p50_s: quantile(0.5, durations),
    p99_s: quantile(0.99, durations),
    areRecent: durations === recent && Boolean(before),
    hits: texts > 0 ? hits / texts : null,
    replicas: replicas(now),
  };
}

const increase = (now, before) => (now >= before ? now - before : now);

function total(samples, name) {
  return counted(samples, name).reduce((sum, { value }) => sum + value, 0);
}

function counted(samples, name) {
  return (samples.get(name) || []).filter(({ labels }) => labels.route !== OWN_ROUTE);
}

// Upper bound in seconds → the number of durations up to it.
function bucketsOf(samples) {
  const found = new Map();
  for (const { labels, value } of counted(samples, DURATION)) {
    const bound = Number(labels.le.replace("+Inf", "Infinity"));
    found.set(bound, (found.get(bound) || 0) + value);
  }
  return new Map([...found].sort(([a], [b]) => a - b));
}

// Like Prometheus's histogram_quantile: linear within a bucket. Null if nothing was counted.
export function quantile(q, buckets) {
  const count = buckets.get(Infinity) || 0;
  if (count === 0) return null;
  let [low, below] = [0, 0];
  for (const [bound, upTo] of buckets) {
    if (upTo >= q * count) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (q * count - below)) / Math.max(upTo - below, Number.EPSILON);
    }
    [low, below] = [bound, upTo];
  }
  return low;
}

// Deployment → the number of healthy replicas. Serve reports it every few seconds, so it disappears with
// a replica, unlike a replica's counters.
function replicas(samples) {
  const found = new Map();
  for (const { labels, value } of samples.get(HEALTHY) || []) {
    if (value > 0) found.set(labels.deployment, (found.get(labels.deployment) || 0) + value);
  }
  return new Map([...found].sort());
}
