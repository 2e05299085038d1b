/**
 * anonauth for web pages: an access token for every visitor, with no account.
 *
 *     import { anonauth } from "https://auth.example.com/anonauth.mjs";
 *     const auth = anonauth({ app: "myapp-abcde" });
 *     const headers = { Authorization: `Bearer ${await auth.token()}` };
 *
 * All tabs of a browser share one user, and no tab waits for another. A tab that loses the
 * answer to its login asks again and gets the same user, by a login key (client-api.md §2.2).
 *
 * Limits: every script of your page can read localStorage, so load none that you do not trust.
 * Safari deletes what scripts have stored after 7 days without a visit, and the guest is lost.
 *
 * @typedef {{ id: string, anonymous: boolean, expires_at: string | null }} User
 *   `expires_at` is the time (RFC 3339) at which a silent guest is deleted, else null.
 * @typedef {Error & { status?: number, code?: string, retryAfter?: number, until?: number }} Refusal
 *   See client-api.md §4. `retryAfter` is in seconds. Without a `status` there was no answer.
 * @typedef {{ user?: User, access?: string, refresh?: string, until?: number, key?: string }} Kept
 */

const REFRESH_BELOW = 60_000; // ms for which token() promises that its token is valid
const LONGEST_WAIT = 5; // seconds for which token() waits if the service asks for it
const SETTLE = 100; // ms after which other tabs, in processes of their own, see a new key

const sleep = (/** @type {number} */ ms) => new Promise((done) => setTimeout(done, ms));
const newKey = () => btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))
  .slice(0, 43).replaceAll("+", "-").replaceAll("/", "_");

/**
 * Return what to keep of an access token. `until` counts from now: this clock may be wrong.
 * @type {(access: string, refresh?: string) => Kept} */
function opened(access, refresh) {
  const payload = access.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const { sub: id, anonymous, iat, exp } = JSON.parse(atob(payload));
  const end = new Date(Math.floor(iat / 86_400 + 91) * 86_400_000 + 3_600_000); // design.md §4
  const expires_at = anonymous ? end.toISOString().replace(".000", "") : null;
  const until = Date.now() + (exp - iat) * 1000;
  return { user: { id, anonymous, expires_at }, access, refresh, until };
}

/** @type {(method: string, url: string, token?: string, body?: object) => Promise<any>} */
async function call(method, url, token, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
  const answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  const error = new Error(said.error ?? `the service answered ${answer.status}`);
  const retryAfter = Number(answer.headers.get("retry-after") ?? 0);
  const until = performance.now() + retryAfter * 1000; // this clock cannot be set back
  throw Object.assign(error, { status: answer.status, code: said.error_code, retryAfter, until });
}

/**
 * Return the user of this browser. `app` is the app id, and `url` the service's address.
 * @param {{ app: string, url?: string, storage?: Pick<Storage, "getItem" | "setItem"> }} settings */
export function anonauth({ app, url = new URL(".", import.meta.url).href, storage = localStorage }) {
  const api = `${url.replace(/\/+$/, "")}/api/client/v2.0`;
  const session = `${api}/auth/session`;
  const slot = `anonauth ${api} ${app}`;
  const loginAt = (/** @type {string} */ p) => `${api}/app/${app}/auth/providers/${p}/login`;
  const read = () => /** @type {Kept} */ (JSON.parse(storage.getItem(slot) ?? "{}"));
  let pending = /** @type {Promise<string> | undefined} */ (undefined);
  let refusal = /** @type {Refusal | undefined} */ (undefined);
  let told = JSON.stringify(read().user ?? null);

  /** Change what is kept, under a lock between tabs.
   * @type {(change: (kept: Kept) => Kept | undefined) => Promise<Kept>} */
  const store = (change) => new Promise((done, fail) => {
    const work = () => {
      const changed = change(read());
      if (changed) storage.setItem(slot, JSON.stringify(changed));
      done(changed ?? read());
      tell();
      return changed?.key && sleep(SETTLE);
    };
    globalThis.navigator?.locks?.request(slot, work).catch(fail) ?? work();
  });

  function tell() {
    const { user } = auth;
    if (told === (told = JSON.stringify(user))) return;
    queueMicrotask(() => auth.onchange(user));
  }

  async function obtain(fresh = false) {
    for (let tries = 1; ; tries += 1) {
      const kept = await store((now) => (now.refresh || now.key ? undefined : { key: newKey() }));
      const { access = "", refresh, key, until = 0 } = kept;
      const left = fresh ? 0 : until - Date.now();
      if (left > REFRESH_BELOW) return access;
      const replace = (/** @type {Kept} */ by) => // if no tab has logged in or out meanwhile
        store((now) => (now.refresh === refresh && now.key === key ? by : undefined));
      try {
        const wait = (refusal?.until ?? 0) - performance.now();
        if (wait > LONGEST_WAIT * 1000) throw refusal;
        if (wait > 0) await sleep(wait);
        const answer = refresh
          ? await call("POST", session, refresh)
          : await call("POST", loginAt("anon-user"), undefined, { login_key: key });
        const now = await replace(opened(answer.access_token, refresh ?? answer.refresh_token));
        if (now.access === answer.access_token) return answer.access_token;
      } catch (/** @type {any} */ error) {
        if (error.retryAfter) refusal = error;
        if (error.status === (refresh ? 401 : 409)) await replace({});
        else if (left > 0) return access;
        else if (!error.retryAfter || error.retryAfter > LONGEST_WAIT || tries > 2) throw error;
      }
    }
  }

  const auth = {
    /** @returns {User | null} */
    get user() { return read().user ?? null; },
    /** Called after a change of `user`, also by another tab. @type {(user: User | null) => void} */
    onchange() {},
    /** Return an access token, if need be of a new guest. Ask for a `fresh` one after a 401. */
    async token({ fresh = false } = {}) {
      if (fresh) await pending?.catch(() => {});
      return (pending ??= obtain(fresh).finally(() => { pending = undefined; }));
    },
    /** Link an identity to this user, who keeps its id.
     * @param {string} provider @param {object} credential */
    async link(provider, credential) {
      const { user } = auth; // a permanent one needs a new token (client-api.md §7)
      const token = await obtain(!user?.anonymous);
      if (user && user.id !== auth.user?.id) throw new Error("the user's session has ended");
      const answer = await call("POST", `${loginAt(provider)}?link=true`, token, credential);
      await store((now) => (now.refresh ? opened(answer.access_token, now.refresh) : undefined));
    },
    /** Log in, and with `merge` bring the guest along. Return whether it was merged.
     * @param {string} provider @param {object} credential @returns {Promise<boolean>} */
    async logIn(provider, credential, { merge = false } = {}) {
      const { user, refresh } = read();
      const body = { ...credential, merge: merge && user?.anonymous ? refresh : undefined };
      const answer = await call("POST", loginAt(provider), undefined, body);
      await store(() => opened(answer.access_token, answer.refresh_token));
      return answer.merged;
    },
    /** End the session, or with `everywhere` all of the user. This deletes a guest. */
    async logOut({ everywhere = false } = {}) {
      const { refresh } = read();
      if (!refresh) return;
      await call("DELETE", `${session}?everywhere=${everywhere}`, refresh)
        .catch((error) => { if (error.status !== 401) throw error; });
      await store((now) => (now.refresh === refresh ? {} : undefined));
    },
  };
  globalThis.addEventListener?.("storage", tell);
  return auth;
}
