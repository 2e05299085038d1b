// The playground of `anonauth serve`. It keeps nothing: a reload forgets all tokens.
// Whatever the service says is put in as text, never as HTML.

const API = "/api/client/v2.0";
const USERPASS = "local-userpass";
const MOST_SHOWN = 50;
const POLL_MS = 2000;

const MEANINGS = {
  iss: "who signed it: this app, at this service",
  sub: "the user id",
  aud: "the app that it is for",
  client_id: "the app that it is for",
  exp: "good until",
  iat: "signed at",
  jti: "the number of this token",
  sid: "the session that it belongs to",
  typ: "what kind of token it is",
  anonymous: "whether the user is a guest",
  provider: "how the user came in",
};

const WORDS = {
  guest: "Sign in as a guest",
  register: "Register",
  link: "Link",
  login: "Log in",
  refresh: "Refresh",
  profile: "Who am I?",
  logout: "Log out",
};

const find = (selector, within = document) => within.querySelector(selector);

function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// --- time: the service's, which can be ahead of this machine's

let ahead = 0; // milliseconds, from this machine's clock to the service's

const now = () => Date.now() + ahead;
const utcDay = (ms) => new Date(ms).toISOString().slice(0, 10);

function told(ms) {
  const text = new Date(ms).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
}

function inWords(ms) {
  const seconds = Math.floor(ms / 1000);
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor((seconds % 86400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return `${minutes} min ${seconds % 60} s`;
}

// --- calls, and the list of them

const quoted = (text) =>
  /^[\w./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

const shortToken = (token) =>
  token.length > 20 ? `${token.slice(0, 10)}…${token.slice(-4)}` : token;

/** Replace what is secret or long, as JSON.stringify asks for it. */
function forTheEye(key, value) {
  if (typeof value !== "string") return value;
  if (key === "password") return "••••••";
  return key.endsWith("_token") || key === "challenge" ? shortToken(value) : value;
}

/** Return the call as a line for a shell; `shown` is for people who look over shoulders. */
function curlLine({ method, url, token, body }, shown) {
  const words = ["curl"];
  if (method !== (body === undefined ? "GET" : "POST")) words.push("-X", method);
  words.push(quoted(url));
  if (token) {
    const bearer = shown ? shortToken(token) : token;
    words.push("-H", `'Authorization: Bearer ${bearer}'`);
  }
  if (body !== undefined) {
    const json = JSON.stringify(body, shown ? forTheEye : undefined);
    words.push("-H", "'Content-Type: application/json'", "-d", quoted(json));
  }
  return words.join(" ");
}

/** Return an answer for the eye: a token is long, and worth as much as a password. */
function prettyAnswer(json, text) {
  return json === undefined ? text : JSON.stringify(json, forTheEye, 2);
}

let numberOfCalls = 0;
let last = Promise.resolve();

/** Do what a press asks for once all before it is done: a quick hand loses nothing. */
function queue(work) {
  last = last.then(work).catch((error) => trouble(`The page failed: ${error.message}`));
}

/** Make a call, list it, and return {status, json}; status 0 is no answer at all. */
async function send(who, { method, path, token, body }) {
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
    // Without an answer the status stays 0; one that is not JSON is shown as it is.
  }
  list(who, request, answer);
  await readAll();
  return answer;
}

function list(who, request, answer) {
  numberOfCalls += 1;
  const item = element("li");
  const good = answer.status >= 200 && answer.status < 300;
  const outcome = answer.status ? `answered ${answer.status}` : "no answer";
  const status = element("p", outcome, good ? "answered good" : "answered bad");

  const line = element("pre");
  const code = element("code", curlLine(request, true));
  line.append(code);
  const copy = element("button", "Copy");
  copy.type = "button";
  copy.append(element("span", ` call ${numberOfCalls} as a curl line`, "hidden-words"));
  copy.addEventListener("click", () => copyLine(curlLine(request, false), code));

  item.append(element("h3", `${numberOfCalls}. ${who}`), line, copy, status);
  if (answer.text) item.append(element("pre", prettyAnswer(answer.json, answer.text)));
  find("#log").prepend(item);
  while (find("#log").children.length > MOST_SHOWN) find("#log").lastChild.remove();
  say(`Call ${numberOfCalls}, ${who}: ${outcome}.`);
}

async function copyLine(line, code) {
  try {
    await navigator.clipboard.writeText(line);
    say("Copied. Paste it into a terminal.");
  } catch {
    code.textContent = line;
    getSelection().selectAllChildren(code);
    say("The browser keeps its clipboard to itself. The line is selected: copy it.");
  }
}

function say(words) {
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
    this.forget();

    this.root = find("#device").content.firstElementChild.cloneNode(true);
    this.root.id = this.id;
    this.root.tabIndex = -1;
    find("h2", this.root).textContent = this.name;
    this.nameParts();
    for (const button of this.root.querySelectorAll("button")) {
      button.addEventListener("click", () => queue(() => this.press(button.dataset.do)));
    }
    this.root.addEventListener("input", () => showAll());
    this.root.addEventListener("submit", (event) => event.preventDefault());
    find("#devices").append(this.root);
  }

  /** Give what has to be told apart, or referred to, a name of its own. */
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
    this.expiresAt = undefined; // of a guest, in milliseconds
    this.learnedOn = "";
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

  /** Return why a button makes no sense now; "" if it does. */
  reason(what) {
    const withMail = ["register", "link", "login"].includes(what);
    if (withMail && !app.providers.includes(USERPASS)) {
      return "this app has e-mail and password switched off";
    }
    if (withMail && !(this.email && this.password)) {
      return "fill in an address and a password";
    }
    if (what === "guest" || what === "login") {
      if (this.accessToken) return "log out first";
      const unsolved = what === "guest" && app.challenge && !this.challenge;
      return unsolved ? "fill in an answer to the challenge" : "";
    }
    if (what === "register") return "";
    if (!this.accessToken) return "nobody is signed in here";
    if (what === "link" && !this.isGuest) return "the user is permanent already";
    return "";
  }

  async press(what) {
    const reason = this.reason(what);
    if (reason) return say(`${WORDS[what]}: ${reason}.`);
    await this[what](`${this.name}: ${WORDS[what]}`);
    showAll();
  }

  async guest(who) {
    const path = `${providerPath("anon-user")}/login`;
    const body = app.challenge ? { options: { challenge: this.challenge } } : undefined;
    const answer = await send(who, { method: "POST", path, body });
    if (!this.refused(answer)) {
      this.open(answer.json);
      this.note = "A guest: nobody was asked for anything.";
      done(this.id === "device-1" ? "guest" : isDone("same") ? "other" : "");
    }
  }

  async register(who) {
    const path = `${providerPath(USERPASS)}/register`;
    const body = { email: this.email, password: this.password };
    const answer = await send(who, { method: "POST", path, body });
    if (!this.refused(answer)) {
      this.note = app.confirm_url
        ? "Registered. Now confirm the address in its mail, below; then link it."
        : "Registered. Now link it to a guest, or log in with it.";
    }
  }

  async link(who) {
    const path = `${providerPath(USERPASS)}/login?link=true`;
    const body = { username: this.email, password: this.password };
    const answer = await send(who, { method: "POST", path, token: this.accessToken, body });
    if (!this.refused(answer)) {
      this.take(answer.json.access_token);
      this.expiresAt = undefined;
      this.note = "Linked: the same user id, and from now on it does not expire.";
      done("link");
    }
  }

  async login(who) {
    const path = `${providerPath(USERPASS)}/login`;
    const body = { username: this.email, password: this.password };
    const answer = await send(who, { method: "POST", path, body });
    if (!this.refused(answer)) {
      this.open(answer.json);
      this.note = "Logged in with the address.";
      if (this.id === "device-2" && other(this).userId === this.userId) done("same");
      if (this.id === "device-1" && isDone("dead")) done("stays");
    }
  }

  async refresh(who) {
    const path = `${API}/auth/session`;
    const token = this.refreshToken;
    const wasGuest = this.isGuest;
    const answer = await send(who, { method: "POST", path, token });
    if (this.refused(answer)) {
      if (answer.status === 401) this.end(wasGuest);
      return;
    }
    this.take(answer.json.access_token);
    // On a new day a refresh moves the end of a guest's life, and does not tell.
    if (utcDay(now()) !== this.learnedOn) this.expiresAt = undefined;
    this.note = "A new access token. The refresh token stays the same.";
    if (this.id === "device-1") done("refresh");
  }

  async profile(who) {
    const path = `${API}/auth/profile`;
    const answer = await send(who, { method: "GET", path, token: this.accessToken });
    if (this.refused(answer)) {
      if (answer.status === 401) this.note += " If that is its age, refresh.";
      return;
    }
    const { identities, data, expires_at } = answer.json;
    this.learn(expires_at);
    const providers = identities.map((identity) => identity.provider_type).join(", ");
    this.note = `Identities: ${providers}.${data.email ? ` E-mail: ${data.email}.` : ""}`;
  }

  async logout(who) {
    const path = `${API}/auth/session`;
    const wasGuest = this.isGuest;
    const answer = await send(who, { method: "DELETE", path, token: this.refreshToken });
    if (this.refused(answer)) {
      if (answer.status === 401) this.end(wasGuest);
      return;
    }
    this.forget();
    this.note = wasGuest
      ? "Logged out. The guest is deleted: nobody could ever sign in to it again."
      : "Logged out. The user stays.";
    if (this.id === "device-2" && isDone("same")) done("logout");
  }

  /** Note what went wrong, in the service's own words; return whether it did. */
  refused({ status, json }) {
    if (status >= 200 && status < 300 && json) return false;
    const error = json?.error ?? json?.message;
    this.note = status
      ? `Refused, ${status}: ${error ?? "see the answer"}.`
      : "No answer. Is `anonauth serve` still running?";
    if (json?.error_code === "AccountNameInUse") {
      this.note += " That address is taken; choose another one.";
    }
    return true;
  }

  end(wasGuest) {
    const userId = this.userId;
    this.forget();
    this.note = wasGuest
      ? `Refused, 401: the guest ${userId} is gone, for good.`
      : `Refused, 401: this session of ${userId} has ended. The user can log in again.`;
    if (wasGuest && this.id === "device-2" && isDone("other")) done("dead");
  }

  open({ access_token, refresh_token, user_id, expires_at }) {
    this.refreshToken = refresh_token;
    this.userId = user_id;
    this.take(access_token);
    this.learn(expires_at);
  }

  take(accessToken) {
    this.accessToken = accessToken;
    this.claims = readClaims(accessToken);
  }

  learn(expiresAt) {
    this.expiresAt = expiresAt === undefined ? undefined : Date.parse(expiresAt);
    this.learnedOn = utcDay(now());
  }

  show() {
    const put = (selector, text) => {
      const target = find(selector, this.root);
      if (target.textContent !== text) target.textContent = text;
    };
    const same = Boolean(this.userId) && this.userId === other(this).userId;
    let who = "Nobody is signed in.";
    if (this.accessToken) who = this.isGuest ? "A guest (an anonymous user)." : "A permanent user.";
    put(".who", who);
    find(".same", this.root).hidden = !same;
    put(".same", same ? `✓ The same user as on ${other(this).name}` : "");
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
      const reason = this.reason(button.dataset.do);
      if (reason) {
        button.setAttribute("aria-disabled", "true");
        button.setAttribute("aria-describedby", `${this.id}-reasons`);
        const words = WORDS[button.dataset.do];
        reasons.set(reason, [...(reasons.get(reason) ?? []), words]);
      } else {
        button.removeAttribute("aria-disabled");
        button.removeAttribute("aria-describedby");
      }
    }
    const sentences = [...reasons].map(([why, which]) => `${which.join(", ")}: ${why}.`);
    put(".reasons", sentences.join(" "));
    // The one button that stands out is the next thing to do.
    find("[data-do=guest]", this.root).classList.toggle("main", !this.accessToken);
    // Enter in a field presses the form's first submit button.
    find("[data-do=link]", this.root).type = this.isGuest ? "submit" : "button";
    find("[data-do=login]", this.root).type = this.isGuest ? "button" : "submit";
  }

  /** Show what a second changes. */
  showTimes() {
    const lives = find(".lives", this.root);
    const lasts = find(".lasts", this.root);
    const dead = this.isGuest && this.expiresAt <= now();
    const stale = Boolean(this.accessToken) && this.claims.exp * 1000 <= now();
    if (!this.accessToken) lives.textContent = "–";
    else if (!this.isGuest) lives.textContent = "does not expire";
    else if (this.expiresAt === undefined) lives.textContent = "later than before: ask “Who am I?”";
    else if (dead) lives.textContent = `${told(this.expiresAt)}: over. Refresh, and see.`;
    else lives.textContent = `${told(this.expiresAt)}, in ${inWords(this.expiresAt - now())}`;
    if (!this.accessToken) lasts.textContent = "–";
    else if (stale) lasts.textContent = "expired: refresh";
    else lasts.textContent = `good for ${inWords(this.claims.exp * 1000 - now())}`;
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
    const meaning = MEANINGS[name] ?? (/^(baas|stitch)_/.test(name) ? "for the Realm SDKs" : "");
    const row = element("tr");
    const head = element("th");
    head.scope = "row";
    head.append(element("code", name), element("span", meaning, "why"));
    const cell = element("td");
    const text = typeof value === "string" ? value : JSON.stringify(value);
    cell.append(element("code", isTime ? `${value} (${told(value * 1000)})` : text));
    row.append(head, cell);
    return row;
  });
}

let devices = [];
const other = (device) => devices.find((each) => each !== device);

function showAll() {
  for (const device of devices) device.show();
  const next = document.querySelector("#story li:not(.done)");
  for (const step of find("#story").children) step.classList.toggle("next", step === next);
}

function done(step) {
  if (step) find(`#step-${step}`).classList.add("done");
}

const isDone = (step) => find(`#step-${step}`).classList.contains("done");

// --- what arrives by itself

async function read(path) {
  const response = await fetch(path, { cache: "no-store", credentials: "omit" });
  return { status: response.status, text: await response.text() };
}

let reading = Promise.resolve();

/** Read what is new, after what is being read already: no answer overtakes another. */
function readAll() {
  reading = reading.then(readOnce);
  return reading;
}

async function readOnce() {
  try {
    const [clock, outbox, events] = await Promise.all(
      ["clock", "outbox", "events"].map((name) => read(`/_local/${name}`)),
    );
    ahead = Date.parse(JSON.parse(clock.text).now) - Date.now();
    showList("mails", outbox, mailItem);
    showList("events", events, eventItem);
    trouble("");
  } catch {
    trouble("The service does not answer. Is `anonauth serve` still running?");
  }
  tick();
}

function trouble(words) {
  const place = find("#trouble");
  if (place.textContent !== words) place.textContent = words;
  place.hidden = !words;
}

const seen = {}; // what each list has, the oldest first, as text

/** Put what is new on top: to make all anew would close what somebody has opened. */
function showList(name, { status, text }, itemOf) {
  const json = JSON.parse(text);
  const empty = find(`#no-${name}`);
  if (status !== 200) {
    empty.textContent = `There are none: ${json.error}.`;
    return;
  }
  const entries = json.map((entry) => JSON.stringify(entry));
  const before = seen[name] ?? [];
  const goesOn = before.every((entry, at) => entry === entries[at]);
  seen[name] = entries;
  const place = find(`#${name}`);
  if (!goesOn) place.replaceChildren();
  const added = json.slice(goesOn ? before.length : 0).slice(-MOST_SHOWN);
  for (const entry of added) place.prepend(itemOf(entry));
  while (place.children.length > MOST_SHOWN) place.lastChild.remove();
  empty.hidden = json.length > 0 && json.length <= MOST_SHOWN;
  empty.textContent = json.length ? `The newest ${MOST_SHOWN} of ${json.length}.` : noneYet(name);
}

function noneYet(name) {
  if (name === "mails" && app.providers.includes(USERPASS) && !app.confirm_url) {
    return "This app sends none: without mail in the settings, an address counts as confirmed.";
  }
  return "None yet.";
}

function eventItem({ time, "detail-type": type, detail }) {
  if (type === "user.deleted" && detail.reason === "expired" && isDone("dead")) {
    done("deleted");
  }
  const item = element("li");
  const days = detail.days_left === undefined ? "" : `${detail.days_left} days left`;
  const heading = element("h3");
  heading.append(element("code", type));
  const user = element("p");
  user.append("user ", element("code", detail.uid));
  const about = [days || detail.reason || detail.linked?.[0]?.provider || detail.provider];
  about.push(told(Date.parse(time)));
  const more = element("details");
  more.append(element("summary", "All of it"), element("pre", JSON.stringify(detail, null, 2)));
  item.append(heading, user, element("p", about.filter(Boolean).join(", "), "why"), more);
  return item;
}

function mailItem(mail) {
  const item = element("li");
  item.append(
    element("h3", mail.subject),
    element("p", `to ${mail.to}, ${told(Date.parse(mail.sent_at))}`, "why"),
    element("pre", mail.text),
  );
  const link = app.confirm_url && linkIn(mail.text, app.confirm_url);
  if (link) {
    const confirm = element("button", "Confirm the address");
    confirm.type = "button";
    confirm.addEventListener("click", () => queue(() => confirmAddress(link)));
    item.append(confirm);
  }
  return item;
}

/** Return token and tokenId of the link in a confirm mail; undefined in another one. */
function linkIn(text, page) {
  const url = text.split(/\s+/).find((word) => word.startsWith(page.split("#")[0]));
  const query = new URLSearchParams(url?.split("#")[0].split("?")[1]);
  const [token, tokenId] = [query.get("token"), query.get("tokenId")];
  return token && tokenId ? { token, tokenId } : undefined;
}

async function confirmAddress(body) {
  const path = `${providerPath(USERPASS)}/confirm`;
  await send("Mail: Confirm the address", { method: "POST", path, body });
  showAll();
}

function tick() {
  find("#now").textContent = told(now());
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
  showAll();
}

async function showApi() {
  const about = find("#api-about");
  const { status, text } = await read("/openapi.json");
  if (status !== 200) {
    about.textContent = `This service does not describe its API: /openapi.json answers ${status}.`;
    return;
  }
  const { info, paths } = JSON.parse(text);
  const link = element("a", "/openapi.json");
  link.href = "/openapi.json";
  about.replaceChildren(`${info.title} ${info.version}, described by `, link, " (OpenAPI).");
  const methods = ["get", "post", "put", "patch", "delete"];
  for (const [path, operations] of Object.entries(paths)) {
    for (const method of methods.filter((each) => each in operations)) {
      const row = element("tr");
      const [first, second] = [element("td"), element("td")];
      first.append(element("code", method.toUpperCase()));
      const code = element("code");
      // A line may end after each slash but the first.
      for (const part of path.split(/(?<=.\/)/)) code.append(part, element("wbr"));
      second.append(code);
      row.append(first, second, element("td", operations[method].summary ?? ""));
      find("#api").append(row);
    }
  }
  find("#api-table").hidden = false;
}

function chooseApp(id) {
  app = apps.find((each) => each.id === id);
  find("#about").replaceChildren(
    "For an SDK: base URL ",
    element("code", location.origin),
    ", app id ",
    element("code", app.id),
    `. Ways to sign in: ${app.providers.join(", ")}.`,
  );
  find("#step-confirm").hidden = !app.confirm_url;
  for (const step of find("#story").children) step.classList.remove("done");
  for (const device of devices) {
    device.forget();
    device.note = "";
  }
  for (const name of Object.keys(seen)) {
    find(`#${name}`).replaceChildren();
    delete seen[name];
  }
  showAll();
}

async function start() {
  const stack = await read("/_local/stack");
  apps = JSON.parse(stack.text).apps;
  [app] = apps;
  devices = [1, 2].map((number) => new Device(number));
  find("#app").append(...apps.map((each) => new Option(each.id)));
  find("#app-choice").hidden = apps.length === 1;
  find("#app").addEventListener("change", (event) => {
    queue(() => chooseApp(event.target.value));
    queue(readAll);
  });
  for (const button of document.querySelectorAll("[data-advance]")) {
    button.addEventListener("click", () => queue(() => advance(button)));
  }
  chooseApp(app.id);
  setInterval(tick, 1000);
  await poll();
  await showApi();
}

start().catch(() => trouble("The page could not be set up. Reload it; is the service running?"));
