// Realm Core 13, the client inside the native SDKs, as WebAssembly, with the parts of a
// browser that it expects, in Node. `coreCalls` collects its requests.
import { readFile } from "node:fs/promises";
import { register } from "node:module";
import { fileURLToPath } from "node:url";

/** Method, URL and status of each request. */
export const coreCalls = [];

globalThis.window = globalThis;
globalThis.navigator ??= { userAgent: "node" };

// Node's fetch does not read files, and the WebAssembly is in a file.
const fetchFromNet = globalThis.fetch;
globalThis.fetch = async (url, init) =>
  String(url).startsWith("file:")
    ? new Response(await readFile(fileURLToPath(url)), {
        headers: { "Content-Type": "application/wasm" },
      })
    : fetchFromNet(url, init);

globalThis.XMLHttpRequest = class {
  #request;
  #headers = [];
  readyState = 0;
  response = null;

  open(method, url) {
    this.#request = { method, url, headers: {} };
    this.readyState = 1;
  }
  setRequestHeader(name, value) {
    this.#request.headers[name] = value;
  }
  getAllResponseHeaders() {
    return this.#headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  }
  overrideMimeType() {}
  abort() {}
  async send(bytes) {
    const { method, url, headers } = this.#request;
    const body = bytes && method !== "GET" ? Buffer.from(bytes) : undefined;
    try {
      const answer = await fetchFromNet(url, { method, headers, body });
      this.response = await answer.arrayBuffer();
      this.status = answer.status;
      this.statusText = answer.statusText;
      this.#headers = [...answer.headers];
    } catch (error) {
      this.onerror?.(error);
      return;
    }
    coreCalls.push({ method, url, status: this.status });
    this.readyState = 4;
    this.onreadystatechange?.({});
    this.onload?.({});
  }
};

// Core's bundle imports names from `bson`, and a CommonJS module does not export names.
const dataUrl = (code) => `data:text/javascript,${encodeURIComponent(code)}`;
const bson = dataUrl(`import bson from ${JSON.stringify(import.meta.resolve("bson"))};
export const { Decimal128, EJSON, Long, ObjectId, UUID } = bson;`);
register(
  dataUrl(`export const resolve = (name, context, next) =>
    name === "bson" && context.parentURL.includes("/realm/")
      ? { url: ${JSON.stringify(bson)}, shortCircuit: true }
      : next(name, context);`),
);

// Imported by path: for Node the package names a native client, which is not installed.
const BUNDLE = new URL("node_modules/realm/dist/bundle.browser.mjs", import.meta.url);
export const { App: CoreApp, Credentials: CoreCredentials } = await import(BUNDLE);
