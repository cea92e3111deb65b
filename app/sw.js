// The service worker: keeps the page for times without a network. `cargo xtask` writes three constants above this text:
// VERSION, and the names of its files, which it ends: FIRST, what each visit needs, and REST, the modules loaded on demand.
//
// Versions are never mixed: the name of each file ends in its version, and the page itself comes from the network where
// there is one. A newer service worker takes over at once, because one that waits would wait as long as a page is open,
// however often it is reloaded. Pages of an older version go on with what was kept for them.
const PREFIX = `accel-copilot ${registration.scope} `;
const NAME = PREFIX + VERSION;
// How long the network may take before the page that was kept is shown; Perfetto's page waits as long.
const PATIENCE_MS = 3000;
const FILES = new Set([...FIRST, ...REST]);

// A login page of a network may answer for any file.
const good = (answer) => answer.ok && !/html/.test(answer.headers.get("content-type") ?? "");

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("message", (event) => event.waitUntil(idle(event)));
addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const [address, query] = url.split("#")[0].split("?");
  if (method !== "GET" || !address.startsWith(registration.scope)) return;
  const name = address.slice(registration.scope.length);
  if (mode === "navigate" && ["", "index.html"].includes(name)) event.respondWith(page(event.request));
  else if (FILES.has(name)) event.respondWith(file(name, query && event.request));
  else if (/-[0-9a-f]{16}[._]/.test(name)) event.respondWith(older(event.request));
});

async function install() {
  const page = await fetch("./", { cache: "no-cache" });
  const text = await page.text();
  if (!text.includes(VERSION)) throw new Error("the server has another version already");
  for (const answer of await Promise.all(FIRST.map((name) => file(name)))) {
    if (!good(answer)) throw new Error(`${answer.url}: ${answer.status}`);
  }
  // Written anew, because a page that was redirected to may not be shown in place of another.
  await (await caches.open(NAME)).put("./", new Response(text, { headers: page.headers }));
  await skipWaiting();
}

// A page is idle, and tells its version and whether it may load more: what it loads on demand is kept as well, so that it
// works without a network after one visit. Once no other page is open, nothing is left of older versions.
async function idle({ data, source }) {
  if (data.version !== VERSION) return;
  if (data.more) await Promise.allSettled(REST.map((name) => file(name)));
  if ((await clients.matchAll()).some((client) => client.id !== source.id)) return;
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
}

async function page(request) {
  const late = new Promise((_, fail) => setTimeout(fail, PATIENCE_MS));
  const answer = await Promise.race([fetch(request), late]).catch(() => undefined);
  if (answer && answer.status < 500) return answer;
  return (await (await caches.open(NAME)).match("./")) ?? answer ?? fetch(request);
}

// A file of another version: what was kept of it, else what the network has.
async function older(request) {
  return (await caches.match(request)) ?? fetch(request);
}

// A file of this version: what is kept, else what the network has. `again` is the request of a page that could not use it.
async function file(name, again) {
  const cache = await caches.open(NAME);
  const kept = await cache.match(name);
  if (kept && !again) return kept;
  const answer = await fetch(again || name).catch((error) => kept ?? Promise.reject(error));
  if (good(answer)) await cache.put(name, answer.clone()).catch(() => {});
  return answer;
}
