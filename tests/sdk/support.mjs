// What the scenarios share: apps with a storage of their own, and a look at the wire.
import { App } from "realm-web";

export const BASE_URL = process.env.BASE_URL;
export const APP = "myapp-abcde";
export const OTHER_APP = "other-fghij";
const API = `${BASE_URL}/api/client/v2.0`;

/** Storage that outlives an `App`, as a browser's localStorage outlives a page. */
export class MapStorage {
  #items = new Map();

  constructor(items = {}) {
    for (const [key, value] of Object.entries(items)) this.set(key, value);
  }
  get(key) {
    return this.#items.get(key) ?? null;
  }
  set(key, value) {
    this.#items.set(key, value);
  }
  remove(key) {
    this.#items.delete(key);
  }
  prefix(part) {
    return {
      get: (key) => this.get(`${part}:${key}`),
      set: (key, value) => this.set(`${part}:${key}`, value),
      remove: (key) => this.remove(`${part}:${key}`),
      prefix: (inner) => this.prefix(`${part}:${inner}`),
      clear: (inner = "") => this.clear(`${part}:${inner}`),
      addListener() {},
      removeListener() {},
    };
  }
  clear(prefix = "") {
    for (const key of [...this.#items.keys()]) {
      if (key.startsWith(prefix)) this.#items.delete(key);
    }
  }
  addListener() {}
  removeListener() {}
}

/** An app as its developer would make it; `calls` fills with what it sends. */
export function openApp({ id = APP, storage = new MapStorage() } = {}) {
  const calls = [];
  const app = new App({
    id,
    baseUrl: BASE_URL,
    storage,
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      const path = url.replace(API, "");
      calls.push({
        line: `${init.method} ${path} ${response.status}`,
        body: init.body ? JSON.parse(init.body) : null,
      });
      return response;
    },
  });
  return { app, calls, lines: () => calls.map((call) => call.line), storage };
}

/** A storage that holds a user as realm-web left it there in an earlier run. */
export function storageWithUser({ app, id, accessToken, refreshToken }) {
  const user = `app(${app}):user(${id})`;
  return new MapStorage({
    [`app(${app}):userIds`]: JSON.stringify([id]),
    [`${user}:accessToken`]: accessToken,
    [`${user}:refreshToken`]: refreshToken,
    [`${user}:providerType`]: "anon-user",
  });
}

export function claimsOf(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
}

export function profileStatus(accessToken) {
  const headers = { Authorization: `Bearer ${accessToken}` };
  return fetch(`${API}/auth/profile`, { headers }).then((answer) => answer.status);
}

/** Move the service's clock forward by an ISO 8601 duration. */
export async function advance(duration) {
  const answer = await fetch(`${BASE_URL}/_local/clock`, {
    method: "POST",
    body: JSON.stringify({ advance: duration }),
  });
  if (!answer.ok) throw new Error(await answer.text());
}
