// The service worker: keeps the page for times without a network. `cargo xtask` writes three constants above this text:
// VERSION, and the names of its files, which it ends: FIRST, what each visit needs, and REST, the modules loaded on demand.
//
// Versions are never mixed. All files are named by the version, and only those of this one are kept or answered; the page
// itself comes from the network where there is one. A newer service worker waits until no page of this one is open.
const PREFIX = `accel-copilot ${registration.scope} `;
const NAME = PREFIX + VERSION;
// How long the network may take before the page that was kept is shown; Perfetto's page waits as long.
const PATIENCE_MS = 3000;
const FILES = new Set([...FIRST, ...REST]);

// A login page of a network may answer for any file.
const good = (answer) => answer.ok && !/html/.test(answer.headers.get("content-type") ?? "");

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(activate()));
// The page is idle: what it may load on demand is kept as well, so that it works without a network after one visit.
addEventListener("message", (event) => event.waitUntil(Promise.allSettled(REST.map((name) => file(name)))));
addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const [address, query] = url.split("#")[0].split("?");
  if (method !== "GET" || !address.startsWith(registration.scope)) return;
  const name = address.slice(registration.scope.length);
  if (mode === "navigate" && ["", "index.html"].includes(name)) event.respondWith(page(event.request));
  else if (FILES.has(name)) event.respondWith(file(name, query && event.request));
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
}

async function activate() {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
  await clients.claim();
}

async function page(request) {
  const late = new Promise((_, fail) => setTimeout(fail, PATIENCE_MS));
  const answer = await Promise.race([fetch(request), late]).catch(() => undefined);
  if (answer && answer.status < 500) return answer;
  return (await (await caches.open(NAME)).match("./")) ?? answer ?? fetch(request);
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
