// The playground of `anonauth serve`. It stores nothing: a reload drops all tokens.
// Answers of the service are inserted as text, never as HTML.

const API = "/api/client/v2.0";
const USERPASS = "local-userpass";
const MOST_SHOWN = 50;
const POLL_MS = 2000;

const CLAIM_MEANINGS = {
  iss: "the issuer: this app, at this service",
  sub: "the user id",
  aud: "the app that the token is for",
  client_id: "the app that the token is for",
  exp: "valid until",
  iat: "signed at",
  jti: "the id of this token",
  sid: "the session that the token belongs to",
  typ: "the kind of token",
  anonymous: "whether the user is a guest",
  provider: "how the user signed in",
  former_ids: "the ids of guests that were merged into the user",
};

const BUTTON_LABELS = {
  guest: "Sign in as a guest",
  repeat: "Repeat",
  register: "Register",
  link: "Link",
  login: "Log in",
  merge: "Log in and bring the guest along",
  refresh: "Refresh",
  profile: "Who am I?",
  logout: "Log out",
  everywhere: "Log out everywhere",
};

const find = (selector, within = document) => within.querySelector(selector);

function makeElement(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// --- the service's time, which can be ahead of this machine's

let ahead = 0; // milliseconds by which the service's clock is ahead

const now = () => Date.now() + ahead;
const utcDay = (ms) => new Date(ms).toISOString().slice(0, 10);

function timeText(ms) {
  const text = new Date(ms).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
}

function durationText(ms) {
  const seconds = Math.floor(ms / 1000);
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor((seconds % 86400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return `${minutes} min ${seconds % 60} s`;
}

// --- calls, and their list

const quoted = (text) =>
  /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

const shortToken = (token) =>
  token.length > 20 ? `${token.slice(0, 10)}…${token.slice(-4)}` : token;

/** Shorten secrets; a replacer for JSON.stringify. */
function shortenSecret(key, value) {
  if (typeof value !== "string") return value;
  if (key === "password") return "••••••";
  const isLong = key.endsWith("_token") || ["challenge", "login_key", "merge"].includes(key);
  return isLong ? shortToken(value) : value;
}

/** Return the call as a line for a shell; with `shown`, its secrets are shortened. */
function curlLine({ method, url, token, body }, shown) {
  const words = ["curl"];
  if (method !== (body === undefined ? "GET" : "POST")) words.push("-X", method);
  words.push(quoted(url));
  if (token) {
    const bearer = shown ? shortToken(token) : token;
    words.push("-H", `'Authorization: Bearer ${bearer}'`);
  }
  if (body !== undefined) {
    const json = JSON.stringify(body, shown ? shortenSecret : undefined);
    words.push("-H", "'Content-Type: application/json'", "-d", quoted(json));
  }
  return words.join(" ");
}

/** Return an answer with shortened tokens: each is worth as much as a password. */
function prettyAnswer(json, text) {
  return json === undefined ? text : JSON.stringify(json, shortenSecret, 2);
}

let numberOfCalls = 0;
let lastWork = Promise.resolve();

/** Do the work of a press after all earlier presses, so that fast clicks lose nothing. */
function enqueue(work) {
  lastWork = lastWork.then(work).catch((error) => showError(`The page failed: ${error.message}`));
}

/** Make a call, list it, and return {status, json}. Status 0 means no answer. */
async function send(label, { method, path, token, body }) {
  const request = { method, url: location.origin + path, token, body };
  const answer = { status: 0, json: undefined, text: "" };
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(request.url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    answer.text = await response.text();
    answer.status = response.status;
    answer.json = JSON.parse(answer.text);
  } catch {
    // Without an answer the status stays 0. An answer that is not JSON is shown as text.
  }
  listCall(label, request, answer);
  await readAll();
  return answer;
}

function listCall(label, request, answer) {
  numberOfCalls += 1;
  const item = makeElement("li");
  const good = answer.status >= 200 && answer.status < 300;
  const outcome = answer.status ? `answered ${answer.status}` : "no answer";
  const status = makeElement("p", outcome, good ? "answered good" : "answered bad");

  const line = makeElement("pre");
  const code = makeElement("code", curlLine(request, true));
  line.append(code);
  const copy = makeElement("button", "Copy");
  copy.type = "button";
  copy.append(makeElement("span", ` call ${numberOfCalls} as a curl line`, "hidden-words"));
  copy.addEventListener("click", () => copyLine(curlLine(request, false), code));

  item.append(makeElement("h3", `${numberOfCalls}. ${label}`), line, copy, status);
  if (answer.text) item.append(makeElement("pre", prettyAnswer(answer.json, answer.text)));
  find("#log").prepend(item);
  while (find("#log").children.length > MOST_SHOWN) find("#log").lastChild.remove();
  announce(`Call ${numberOfCalls}, ${label}: ${outcome}.`);
}

async function copyLine(line, code) {
  try {
    await navigator.clipboard.writeText(line);
    announce("Copied. Paste it into a terminal.");
  } catch {
    code.textContent = line;
    getSelection().selectAllChildren(code);
    announce("The browser does not allow access to the clipboard. The line is selected: copy it.");
  }
}

/** Return 32 random bytes as base64url: a login key. */
function makeLoginKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const text = btoa(String.fromCharCode(...bytes)).slice(0, 43);
  return text.replaceAll("+", "-").replaceAll("/", "_");
}

function announce(words) {
  find("#status").textContent = words;
}

// --- devices

let apps = [];
let app;

const providerPath = (provider) => `${API}/app/${app.id}/auth/providers/${provider}`;

class Device {
  constructor(number) {
    this.name = `Device ${number}`;
    this.id = `device-${number}`;
    this.note = "";
    this.loginKey = ""; // of the last sign-in as a guest
    this.forget();

    this.root = find("#device").content.firstElementChild.cloneNode(true);
    this.root.id = this.id;
    this.root.tabIndex = -1;
    find("h2", this.root).textContent = this.name;
    this.nameParts();
    for (const button of this.root.querySelectorAll("button")) {
      button.addEventListener("click", () => enqueue(() => this.press(button.dataset.do)));
    }
    this.root.addEventListener("input", () => showDevices());
    this.root.addEventListener("submit", (event) => event.preventDefault());
    find("#devices").append(this.root);
  }

  /** Give the device's parts ids of their own, so that labels can refer to them. */
  nameParts() {
    const refer = (target, suffix) => (target.id = `${this.id}-${suffix}`);
    this.root.setAttribute("aria-labelledby", refer(find("h2", this.root), "title"));
    for (const type of ["text", "email", "password"]) {
      const input = find(`input[type=${type}]`, this.root);
      refer(input, type);
      find("label", input.parentNode).htmlFor = input.id;
    }
    refer(find(".reasons", this.root), "reasons");
    const claims = find("details .wide", this.root);
    claims.setAttribute("aria-label", `Claims of ${this.name}`);
  }

  forget() {
    this.accessToken = "";
    this.refreshToken = "";
    this.userId = "";
    this.claims = {};
    this.expiresAt = undefined; // milliseconds; a guest's only
    this.expiryKnownOn = "";
  }

  get email() {
    return find("input[type=email]", this.root).value.trim();
  }

  get password() {
    return find("input[type=password]", this.root).value;
  }

  get challenge() {
    return find("input[type=text]", this.root).value.trim();
  }

  get isGuest() {
    return this.claims.anonymous === true;
  }

  /** Return why a button is disabled now; "" if it is not. */
  whyDisabled(action) {
    const withMail = ["register", "link", "login", "merge"].includes(action);
    if (withMail && !app.providers.includes(USERPASS)) {
      return "this app does not use e-mail and password";
    }
    if (withMail && !(this.email && this.password)) {
      return "fill in an address and a password";
    }
    if (action === "repeat") {
      if (!this.loginKey) return "sign in as a guest first";
      return app.challenge && !this.challenge ? "fill in an answer to the challenge" : "";
    }
    if (action === "guest" || action === "login") {
      if (this.accessToken) return "log out first";
      const unsolved = action === "guest" && app.challenge && !this.challenge;
      return unsolved ? "fill in an answer to the challenge" : "";
    }
    if (action === "register") return "";
    if (!this.accessToken) return "nobody is signed in here";
    if (["link", "merge"].includes(action) && !this.isGuest) return "the user is permanent already";
    return "";
  }

  async press(action) {
    const reason = this.whyDisabled(action);
    if (reason) return announce(`${BUTTON_LABELS[action]}: ${reason}.`);
    await this[action](`${this.name}: ${BUTTON_LABELS[action]}`);
    showDevices();
  }

  async guest(label) {
    this.loginKey = makeLoginKey();
    const answer = await this.logInAnonymously(label);
    if (!this.noteRefusal(answer)) {
      this.openSession(answer.json);
      this.note = "Signed in as a guest, without entering anything.";
      markDone(this.id === "device-1" ? "guest" : isStepDone("same") ? "other" : "");
    }
  }

  async repeat(label) {
    const answer = await this.logInAnonymously(label);
    if (!this.noteRefusal(answer)) {
      this.openSession(answer.json);
      this.note = "Repeated with the same login key: the same user, and the same session.";
      if (this.id === "device-1") markDone("repeat");
    }
  }

  logInAnonymously(label) {
    const path = `${providerPath("anon-user")}/login`;
    const body = { login_key: this.loginKey };
    if (app.challenge) body.options = { challenge: this.challenge };
    return send(label, { method: "POST", path, body });
  }

  async register(label) {
    const path = `${providerPath(USERPASS)}/register`;
    const body = { email: this.email, password: this.password };
    const answer = await send(label, { method: "POST", path, body });
    if (!this.noteRefusal(answer)) {
      this.note = app.confirm_url
        ? "Registered. Now confirm the address in its mail below, then link it."
        : "Registered. Now link the address to a guest, or log in with it.";
    }
  }

  async link(label) {
    const path = `${providerPath(USERPASS)}/login?link=true`;
    const body = { username: this.email, password: this.password };
    const answer = await send(label, { method: "POST", path, token: this.accessToken, body });
    if (!this.noteRefusal(answer)) {
      this.setAccessToken(answer.json.access_token);
      this.expiresAt = undefined;
      this.note = "Linked. The user id is the same, and the user no longer expires.";
      markDone("link");
    }
  }

  async login(label) {
    const path = `${providerPath(USERPASS)}/login`;
    const body = { username: this.email, password: this.password };
    const answer = await send(label, { method: "POST", path, body });
    if (!this.noteRefusal(answer)) {
      this.openSession(answer.json);
      this.note = "Logged in with the address.";
      if (this.id === "device-2" && otherDevice(this).userId === this.userId) markDone("same");
      if (this.id === "device-1" && isStepDone("dead")) markDone("stays");
    }
  }

  async merge(label) {
    const path = `${providerPath(USERPASS)}/login`;
    const body = { username: this.email, password: this.password, merge: this.refreshToken };
    const guestId = this.userId;
    const answer = await send(label, { method: "POST", path, body });
    if (this.noteRefusal(answer)) return;
    this.openSession(answer.json);
    this.note = answer.json.merged
      ? `Logged in. The guest ${guestId} was merged into this user, as a former id.`
      : this.userId === guestId
        ? "Logged in. The address had no user, so it was linked to the guest."
        : `Logged in. The guest ${guestId} was gone already, so it was not merged.`;
    if (this.id === "device-2" && answer.json.merged) markDone("merge");
  }

  async refresh(label) {
    const path = `${API}/auth/session`;
    const token = this.refreshToken;
    const wasGuest = this.isGuest;
    const answer = await send(label, { method: "POST", path, token });
    if (this.noteRefusal(answer)) {
      if (answer.status === 401) this.endSession(wasGuest);
      return;
    }
    this.setAccessToken(answer.json.access_token);
    // The first refresh of a day extends a guest's life; its answer does not say so.
    if (utcDay(now()) !== this.expiryKnownOn) this.expiresAt = undefined;
    this.note = "A new access token. The refresh token stays the same.";
    if (this.id === "device-1") markDone("refresh");
  }

  async profile(label) {
    const path = `${API}/auth/profile`;
    const answer = await send(label, { method: "GET", path, token: this.accessToken });
    if (this.noteRefusal(answer)) {
      if (answer.status === 401) this.note += " If the access token has expired, refresh it.";
      return;
    }
    const { identities, data, expires_at } = answer.json;
    this.noteExpiry(expires_at);
    const providers = identities.map((identity) => identity.provider_type).join(", ");
    this.note = `Identities: ${providers}.${data.email ? ` E-mail: ${data.email}.` : ""}`;
  }

  async everywhere(label) {
    await this.logout(label, "?everywhere=true");
  }

  async logout(label, query = "") {
    const path = `${API}/auth/session${query}`;
    const wasGuest = this.isGuest;
    const answer = await send(label, { method: "DELETE", path, token: this.refreshToken });
    if (this.noteRefusal(answer)) {
      if (answer.status === 401) this.endSession(wasGuest);
      return;
    }
    this.forget();
    this.note = wasGuest
      ? "Logged out. The guest was deleted, because no one could sign in as this guest again."
      : query
        ? "Logged out on all devices. The user still exists."
        : "Logged out. The user still exists.";
    if (this.id === "device-2" && isStepDone("same") && !query) markDone("logout");
  }

  /** Show the service's error message, if there is one; return whether there was. */
  noteRefusal({ status, json }) {
    if (status >= 200 && status < 300 && json) return false;
    const error = json?.error ?? json?.message;
    this.note = status
      ? `Refused, ${status}: ${error ?? "see the answer"}.`
      : "No answer. Is `anonauth serve` still running?";
    if (json?.error_code === "AccountNameInUse") {
      this.note += " That address is taken. Choose another one.";
    }
    return true;
  }

  endSession(wasGuest) {
    const userId = this.userId;
    this.forget();
    this.note = wasGuest
      ? `Refused, 401: the guest ${userId} was removed for good.`
      : `Refused, 401: this session of ${userId} has ended. The user can log in again.`;
    if (wasGuest && this.id === "device-2" && isStepDone("other")) markDone("dead");
  }

  openSession({ access_token, refresh_token, user_id, expires_at }) {
    this.refreshToken = refresh_token;
    this.userId = user_id;
    this.setAccessToken(access_token);
    this.noteExpiry(expires_at);
  }

  setAccessToken(accessToken) {
    this.accessToken = accessToken;
    this.claims = readClaims(accessToken);
  }

  noteExpiry(expiresAt) {
    this.expiresAt = expiresAt === undefined ? undefined : Date.parse(expiresAt);
    this.expiryKnownOn = utcDay(now());
  }

  show() {
    const put = (selector, text) => {
      const target = find(selector, this.root);
      if (target.textContent !== text) target.textContent = text;
    };
    const same = Boolean(this.userId) && this.userId === otherDevice(this).userId;
    let userText = "Nobody is signed in.";
    if (this.accessToken) {
      userText = this.isGuest ? "A guest (an anonymous user)." : "A permanent user.";
    }
    put(".who", userText);
    find(".same", this.root).hidden = !same;
    put(".same", same ? `✓ The same user as on ${otherDevice(this).name}` : "");
    put(".user-id", this.userId || "–");
    put(".note", this.note);
    find(".challenge", this.root).hidden = !app.challenge;
    this.showButtons(put);
    this.showTimes();
    find("details", this.root).hidden = !this.accessToken;
    find(".claims", this.root).replaceChildren(...claimRows(this.claims));
  }

  showButtons(put) {
    const reasons = new Map();
    for (const button of this.root.querySelectorAll("button")) {
      const reason = this.whyDisabled(button.dataset.do);
      if (reason) {
        button.setAttribute("aria-disabled", "true");
        button.setAttribute("aria-describedby", `${this.id}-reasons`);
        const words = BUTTON_LABELS[button.dataset.do];
        reasons.set(reason, [...(reasons.get(reason) ?? []), words]);
      } else {
        button.removeAttribute("aria-disabled");
        button.removeAttribute("aria-describedby");
      }
    }
    const sentences = [...reasons].map(([why, which]) => `${which.join(", ")}: ${why}.`);
    put(".reasons", sentences.join(" "));
    // The highlighted button is the next step.
    find("[data-do=guest]", this.root).classList.toggle("main", !this.accessToken);
    // Enter in a field presses the form's first submit button.
    find("[data-do=link]", this.root).type = this.isGuest ? "submit" : "button";
    find("[data-do=login]", this.root).type = this.isGuest ? "button" : "submit";
  }

  /** Show the times that change every second. */
  showTimes() {
    const lives = find(".lives", this.root);
    const lasts = find(".lasts", this.root);
    const dead = this.isGuest && this.expiresAt <= now();
    const stale = Boolean(this.accessToken) && this.claims.exp * 1000 <= now();
    if (!this.accessToken) lives.textContent = "–";
    else if (!this.isGuest) lives.textContent = "never";
    else if (this.expiresAt === undefined) lives.textContent = "later than before; press “Who am I?”";
    else if (dead) lives.textContent = `${timeText(this.expiresAt)}: expired. Press Refresh.`;
    else lives.textContent = `${timeText(this.expiresAt)}, in ${durationText(this.expiresAt - now())}`;
    if (!this.accessToken) lasts.textContent = "–";
    else if (stale) lasts.textContent = "expired; press Refresh";
    else lasts.textContent = `good for ${durationText(this.claims.exp * 1000 - now())}`;
    lives.classList.toggle("bad", dead);
    lasts.classList.toggle("bad", stale);
  }
}

function readClaims(token) {
  const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(payload), (char) => char.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(bytes));
}

function claimRows(claims) {
  return Object.entries(claims).map(([name, value]) => {
    const isTime = name === "exp" || name === "iat";
    const meaning = CLAIM_MEANINGS[name] ?? (/^(baas|stitch)_/.test(name) ? "for the Realm SDKs" : "");
    const row = makeElement("tr");
    const head = makeElement("th");
    head.scope = "row";
    head.append(makeElement("code", name), makeElement("span", meaning, "why"));
    const cell = makeElement("td");
    const text = typeof value === "string" ? value : JSON.stringify(value);
    cell.append(makeElement("code", isTime ? `${value} (${timeText(value * 1000)})` : text));
    row.append(head, cell);
    return row;
  });
}

let devices = [];
const otherDevice = (device) => devices.find((each) => each !== device);

function showDevices() {
  for (const device of devices) device.show();
  const next = document.querySelector("#story li:not(.done)");
  for (const step of find("#story").children) step.classList.toggle("next", step === next);
}

function markDone(step) {
  if (step) find(`#step-${step}`).classList.add("done");
}

const isStepDone = (step) => find(`#step-${step}`).classList.contains("done");

// --- news from the service: clock, mails, events

async function fetchText(path) {
  const response = await fetch(path, { cache: "no-store", credentials: "omit" });
  return { status: response.status, text: await response.text() };
}

let reading = Promise.resolve();

/** Read the news after earlier reads have ended, so that answers stay in order. */
function readAll() {
  reading = reading.then(readOnce);
  return reading;
}

async function readOnce() {
  try {
    const [clock, outbox, events] = await Promise.all(
      ["clock", "outbox", "events"].map((name) => fetchText(`/_local/${name}`)),
    );
    ahead = Date.parse(JSON.parse(clock.text).now) - Date.now();
    showList("mails", outbox, mailItem);
    showList("events", events, eventItem);
    showError("");
  } catch {
    showError("The service does not answer. Is `anonauth serve` still running?");
  }
  showClock();
}

function showError(words) {
  const place = find("#trouble");
  if (place.textContent !== words) place.textContent = words;
  place.hidden = !words;
}

const shownEntries = {}; // by list: its entries as text, the oldest first

/** Add new entries on top; a rebuilt list would close the details that are open. */
function showList(name, { status, text }, itemOf) {
  const json = JSON.parse(text);
  const empty = find(`#no-${name}`);
  if (status !== 200) {
    empty.textContent = `Not available: ${json.error}.`;
    return;
  }
  const entries = json.map((entry) => JSON.stringify(entry));
  const before = shownEntries[name] ?? [];
  const isContinued = before.every((entry, at) => entry === entries[at]);
  shownEntries[name] = entries;
  const place = find(`#${name}`);
  if (!isContinued) place.replaceChildren();
  const added = json.slice(isContinued ? before.length : 0).slice(-MOST_SHOWN);
  for (const entry of added) place.prepend(itemOf(entry));
  while (place.children.length > MOST_SHOWN) place.lastChild.remove();
  empty.hidden = json.length > 0 && json.length <= MOST_SHOWN;
  empty.textContent = json.length ? `The newest ${MOST_SHOWN} of ${json.length}.` : noneYet(name);
}

function noneYet(name) {
  if (name === "mails" && app.providers.includes(USERPASS) && !app.confirm_url) {
    return "This app sends no mail. Without mail in the settings, every address counts as confirmed.";
  }
  return "None yet.";
}

function eventItem({ time, "detail-type": type, detail }) {
  if (type === "user.deleted" && detail.reason === "expired" && isStepDone("dead")) {
    markDone("deleted");
  }
  const item = makeElement("li");
  const days = detail.days_left === undefined ? "" : `${detail.days_left} days left`;
  const heading = makeElement("h3");
  heading.append(makeElement("code", type));
  const user = makeElement("p");
  user.append("user ", makeElement("code", detail.uid));
  const into = detail.into && `into ${detail.into}`;
  const about = [days || into || detail.reason || detail.linked?.[0]?.provider || detail.provider];
  about.push(timeText(Date.parse(time)));
  const more = makeElement("details");
  more.append(makeElement("summary", "All fields"), makeElement("pre", JSON.stringify(detail, null, 2)));
  item.append(heading, user, makeElement("p", about.filter(Boolean).join(", "), "why"), more);
  return item;
}

function mailItem(mail) {
  const item = makeElement("li");
  item.append(
    makeElement("h3", mail.subject),
    makeElement("p", `to ${mail.to}, ${timeText(Date.parse(mail.sent_at))}`, "why"),
    makeElement("pre", mail.text),
  );
  const link = app.confirm_url && linkIn(mail.text, app.confirm_url);
  if (link) {
    const confirm = makeElement("button", "Confirm the address");
    confirm.type = "button";
    confirm.addEventListener("click", () => enqueue(() => confirmAddress(link)));
    item.append(confirm);
  }
  return item;
}

/** Return token and tokenId of the link in a mail; undefined if it has no confirm link. */
function linkIn(text, page) {
  const url = text.split(/\s+/).find((word) => word.startsWith(page.split("#")[0]));
  const query = new URLSearchParams(url?.split("#")[0].split("?")[1]);
  const [token, tokenId] = [query.get("token"), query.get("tokenId")];
  return token && tokenId ? { token, tokenId } : undefined;
}

async function confirmAddress(body) {
  const path = `${providerPath(USERPASS)}/confirm`;
  await send("Mail: Confirm the address", { method: "POST", path, body });
  showDevices();
}

function showClock() {
  find("#now").textContent = timeText(now());
  for (const device of devices) device.showTimes();
}

async function poll() {
  if (!document.hidden) await readAll();
  setTimeout(poll, POLL_MS);
}

// --- the clock, and the description of the API

async function advance(button) {
  const body = { advance: button.dataset.advance };
  const words = button.textContent.trim();
  await send(`Clock: ${words}`, { method: "POST", path: "/_local/clock", body });
  showDevices();
}

async function showApi() {
  const about = find("#api-about");
  const { status, text } = await fetchText("/openapi.json");
  if (status !== 200) {
    about.textContent = `This service does not describe its API: /openapi.json answers ${status}.`;
    return;
  }
  const { info, paths } = JSON.parse(text);
  const link = makeElement("a", "/openapi.json");
  link.href = "/openapi.json";
  about.replaceChildren(`${info.title} ${info.version}, described by `, link, " (OpenAPI).");
  const methods = ["get", "post", "put", "patch", "delete"];
  for (const [path, operations] of Object.entries(paths)) {
    for (const method of methods.filter((each) => each in operations)) {
      const row = makeElement("tr");
      const [first, second] = [makeElement("td"), makeElement("td")];
      first.append(makeElement("code", method.toUpperCase()));
      const code = makeElement("code");
      // A line may break after each slash but the first.
      for (const part of path.split(/(?<=.\/)/)) code.append(part, makeElement("wbr"));
      second.append(code);
      row.append(first, second, makeElement("td", operations[method].summary ?? ""));
      find("#api").append(row);
    }
  }
  find("#api-table").hidden = false;
}

function chooseApp(id) {
  app = apps.find((each) => each.id === id);
  find("#about").replaceChildren(
    "For an SDK: base URL ",
    makeElement("code", location.origin),
    ", app id ",
    makeElement("code", app.id),
    `. Ways to sign in: ${app.providers.join(", ")}.`,
  );
  find("#step-confirm").hidden = !app.confirm_url;
  for (const step of find("#story").children) step.classList.remove("done");
  for (const device of devices) {
    device.forget();
    device.note = "";
  }
  for (const name of Object.keys(shownEntries)) {
    find(`#${name}`).replaceChildren();
    delete shownEntries[name];
  }
  showDevices();
}

async function start() {
  const description = await fetchText("/_local/stack");
  apps = JSON.parse(description.text).apps;
  [app] = apps;
  devices = [1, 2].map((number) => new Device(number));
  find("#app").append(...apps.map((each) => new Option(each.id)));
  find("#app-choice").hidden = apps.length === 1;
  find("#app").addEventListener("change", (event) => {
    enqueue(() => chooseApp(event.target.value));
    enqueue(readAll);
  });
  for (const button of document.querySelectorAll("[data-advance]")) {
    button.addEventListener("click", () => enqueue(() => advance(button)));
  }
  chooseApp(app.id);
  setInterval(showClock, 1000);
  await poll();
  await showApi();
}

start().catch(() => showError("The page could not be set up. Reload it; is the service running?"));
