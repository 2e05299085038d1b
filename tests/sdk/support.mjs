// Shared by the scenarios: apps with their own storage, credentials, and records of the
// requests that they send.
import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

import { App, Credentials } from "realm-web";

export const BASE_URL = process.env.BASE_URL;
/** An app that confirms e-mail addresses itself, and accepts JWTs and API keys. */
export const APP = "myapp-abcde";
/** An app that confirms e-mail addresses by mail, and accepts nothing else. */
export const OTHER_APP = "other-fghij";
export const PASSWORD = "correct horse";
const API = `${BASE_URL}/api/client/v2.0`;

const SETTINGS = JSON.parse(readFileSync(new URL("settings.json", import.meta.url)));
const [ISSUER] = SETTINGS.apps[APP]["custom-token"].issuers;

// Far more than any scenario needs; realm-web repeats some requests for ever.
const MOST_CALLS = 100;

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

/**
 * An app as its developer would create it; `calls` collects its requests. The class may
 * be the `App` of realm-web 1 as well, which has a `transport` in place of a `fetch`.
 */
export function openApp({
  id = APP,
  storage = new MapStorage(),
  net = fetch,
  AppClass = App,
} = {}) {
  const calls = [];
  const send = async (url, init) => {
    if (calls.length >= MOST_CALLS) {
      throw new Error(`the SDK does not stop: ${calls.at(-1).line}`);
    }
    const response = await net(url, init);
    const path = url.replace(API, "");
    calls.push({
      line: `${init.method} ${path} ${response.status}`,
      body: init.body ? JSON.parse(init.body) : null,
    });
    return response;
  };
  const app = new AppClass({
    id,
    baseUrl: BASE_URL,
    storage,
    fetch: send,
    transport: { fetch: ({ url, timeoutMs: _, ...init }) => send(url, init) },
  });
  return { app, calls, lines: () => calls.map((call) => call.line), storage };
}

/** An app with a guest logged in; `since` collects its requests from now on. */
export async function openGuest(options) {
  const opened = openApp(options);
  const user = await opened.app.logIn(Credentials.anonymous());
  const before = opened.calls.length;
  return { ...opened, user, since: () => opened.lines().slice(before) };
}

/**
 * Return a `fetch` whose logins with a provider lose the service's answer: this many
 * times the connection is cut when the service has answered.
 */
export async function cutting(context, times, provider) {
  let left = times;
  const proxy = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const answer = await fetch(BASE_URL + request.url, {
      method: request.method,
      headers: { "content-type": "application/json" },
      body: Buffer.concat(chunks),
    });
    const text = await answer.text();
    if (left-- > 0) return response.socket.destroy();
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(text);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  context.after(() => proxy.close());
  const { port } = proxy.address();
  return (url, init) =>
    url.endsWith(`/${provider}/login`)
      ? fetch(url.replace(BASE_URL, `http://127.0.0.1:${port}`), init)
      : fetch(url, init);
}

/** Return the line of a link request in `lines`. */
export const linkLine = (provider, status, app = APP) =>
  `POST /app/${app}/auth/providers/${provider}/login?link=true ${status}`;

/** Log in on another device: an app with its own storage. */
export function logInElsewhere(credentials, id = APP) {
  return openApp({ id }).app.logIn(credentials);
}

export function anAddress() {
  return `${randomUUID()}@example.org`;
}

/** An e-mail address that is registered and that this app has confirmed. */
export async function aRegisteredAddress(app) {
  const email = anAddress();
  await app.emailPasswordAuth.registerUser({ email, password: PASSWORD });
  return email;
}

export const byPassword = (email, password = PASSWORD) =>
  Credentials.emailPassword(email, password);

/** A credential with a JWT as the app's own issuer would sign it. */
export function byToken(sub, { secret = ISSUER.secret, ...claims } = {}) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + 10 ** 6;
  const body = { sub, aud: APP, exp, ...claims };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(body)}`;
  const signature = createHmac("sha256", secret).update(signed).digest("base64url");
  return Credentials.jwt(`${signed}.${signature}`);
}

/** Return the mails to an address, the newest last. */
export async function mailsTo(email) {
  const answer = await fetch(`${BASE_URL}/_local/outbox`);
  return (await answer.json()).filter((mail) => mail.to === email);
}

/** Return the query that the app's own page gets from the newest mail's link. */
export async function tokenDataOf(email) {
  const mail = (await mailsTo(email)).at(-1);
  const url = new URL(mail.text.match(/^https:\S+$/m)[0]);
  const { token, tokenId } = Object.fromEntries(url.searchParams);
  return { page: url.pathname, token, tokenId };
}

/** A storage with a user as realm-web stored it in an earlier run. */
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

/** Return the events that the service has sent, the oldest first. */
export async function allEvents() {
  const answer = await fetch(`${BASE_URL}/_local/events`);
  return answer.json();
}

/** Move the service's clock forward by an ISO 8601 duration. */
export async function advance(duration) {
  const answer = await fetch(`${BASE_URL}/_local/clock`, {
    method: "POST",
    body: JSON.stringify({ advance: duration }),
  });
  if (!answer.ok) throw new Error(await answer.text());
}
