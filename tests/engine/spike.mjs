// Clients of a spike: each is a browser of its own, with the module `anonauth.mjs`. The
// program prints the number of each kind of answer, and the user that each client has.
import { anonauth } from "../../functions/anonauth/anonauth.mjs";

const { BASE_URL: url, APP: app, CLIENTS } = process.env;
const SHORTER = 20; // clients wait for this part of the `Retry-After`
const MOST_TRIES = 100;

// Node 24 has locks between tabs, but each client is a browser of its own.
Object.defineProperty(globalThis, "navigator", { value: undefined });

const answers = {};
let logins = 0;
const send = fetch;
globalThis.fetch = async (target, init) => {
  const answer = await send(target, init);
  const body = await answer.text();
  const headers = new Headers(answer.headers);
  const wait = headers.get("retry-after");
  const line = `${init.method} ${target.replace(/.*[/]/, "")} ${answer.status} ${wait}`;
  answers[line] = (answers[line] ?? 0) + 1;
  // This client has a guest now, and does not learn it.
  if (target.endsWith("/login") && answer.ok && ++logins % 4 === 0) {
    throw new TypeError("fetch failed");
  }
  if (wait) headers.set("retry-after", wait / SHORTER);
  return new Response(body, { status: answer.status, headers });
};

function memory() {
  const items = new Map();
  return { getItem: (key) => items.get(key) ?? null, setItem: (key, to) => items.set(key, to) };
}

async function insist(attempt) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (tries === MOST_TRIES) throw error;
      await new Promise((done) => setTimeout(done, 50 + 100 * Math.random()));
    }
  }
}

async function live(number) {
  const auth = anonauth({ app, url, storage: memory() });
  await insist(() => auth.token());
  const first = auth.user.id;
  for (let refreshes = 0; refreshes < 2; refreshes += 1) {
    await insist(() => auth.token({ fresh: true }));
  }
  const refreshed = auth.user.id;
  if (number % 4 === 0) {
    await insist(() => auth.logOut());
    await insist(() => auth.token());
  }
  return { first, refreshed, last: auth.user.id };
}

const clients = await Promise.all(Array.from({ length: Number(CLIENTS) }, (_, n) => live(n)));
console.log(JSON.stringify({ answers, clients }));
