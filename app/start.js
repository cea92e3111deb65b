// The first script of the page and of its workers: loads modules, and says in words why one cannot be loaded.
//
// A classic script, because browsers refuse module scripts to a page that was opened as a file, and then nobody could say
// so. The name of every file ends in the version of the page, as this one's does (in nothing under `trunk serve`).
"use strict";
(() => {
  const onPage = self.document !== undefined;
  const own = onPage ? document.currentScript.src : location.href;
  const [, folder, version] = /^(.*\/)start([^/?]*)\.js/.exec(own);
  const modules = {};
  const failures = {};

  // Loads the module `name` and starts it. Asked again after a failure, it tries again.
  self.loadModule = (name) =>
    (modules[name] ??= load(name).catch((error) => {
      delete modules[name];
      throw error;
    }));

  async function load(name) {
    const files = [`${folder}${name}${version}.js`, `${folder}${name}${version}_bg.wasm`];
    // Browsers remember that a script failed: another address is asked for afresh.
    const [script, wasm] = files.map((file) => (failures[name] ? `${file}?try=${failures[name]}` : file));
    try {
      const module = await import(script);
      await module.default({ module_or_path: wasm });
      return module;
    } catch (error) {
      failures[name] = (failures[name] ?? 0) + 1;
      throw new Error(await reason(files, error));
    }
  }

  // Why `files` could not be loaded and started: what the server says of them, or else what the browser says.
  async function reason(files, error) {
    for (const file of files) {
      const name = file.split("/").pop();
      const [type, wanted] = name.endsWith(".js") ? ["text/javascript", /javascript/] : ["application/wasm", /wasm|octet/];
      try {
        const answer = await fetch(file, { method: "HEAD", cache: "no-store" });
        const sent = answer.headers.get("content-type") ?? "nothing known";
        if (answer.status === 404) return `the server has no ${name} (if the page was updated, reload it)`;
        if (!answer.ok) return `the server answers ${answer.status} for ${name}`;
        if (!wanted.test(sent)) return `the server sends ${name} as ${sent}, not as ${type}`;
      } catch {
        return `the server cannot be reached for ${name}`;
      }
    }
    return error?.message ?? String(error);
  }

  if (onPage) startPage();
  else startWorker();

  // The name of a worker begins with that of its module.
  function startWorker() {
    // The page learns of errors, and not of rejections.
    const raise = (error) => setTimeout(() => { throw error; });
    addEventListener("unhandledrejection", (event) => raise(event.reason));
    self.loadModule(self.name.split("/")[0]).catch(raise);
  }

  function startPage() {
    if (location.protocol === "file:") {
      return say("This page was opened as a file, and browsers run its program only when it comes from a server. " +
        "In the folder of this file, start `python3 -m http.server 8000 --bind 127.0.0.1`, and open http://127.0.0.1:8000.");
    }
    if (typeof WebAssembly !== "object") {
      return say("This page computes in WebAssembly, which this browser does not have or has turned off. " +
        "Allow WebAssembly for this page in the browser's security settings, or use another browser.");
    }
    self.loadModule("accel-app").then(keep, (error) =>
      say(`The program of this page did not start: ${error.message}. Check the connection and reload the page. ` +
        "If that does not help, update the browser, or ask whoever hosts the page to check the files named here."));
  }

  function say(text) {
    const note = document.createElement("p");
    note.id = "failed";
    note.className = "error";
    note.setAttribute("role", "alert");
    note.textContent = text;
    document.body.prepend(note);
  }

  // Has the service worker keep the page for times without a network, once the page has nothing better to do.
  function keep() {
    const { serviceWorker, connection } = navigator;
    if (!version || !serviceWorker) return;
    (self.requestIdleCallback ?? setTimeout)(async () => {
      try {
        const registration = await serviceWorker.register(`${folder}sw.js`);
        // A newer one is not looked for by `register`, and not found without a network.
        await registration.update().catch(() => {});
        const worker = registration.installing ?? registration.waiting ?? registration.active;
        await new Promise((done, fail) => {
          const look = () => ({ activated: done, redundant: fail })[worker.state]?.(new Error("it was replaced"));
          worker.addEventListener("statechange", look);
          look();
        });
        worker.postMessage({ version: version.slice(1), more: !connection?.saveData });
      } catch (error) {
        console.warn(`The page cannot be kept for times without a network: ${error.message}`);
      }
    });
  }
})();
