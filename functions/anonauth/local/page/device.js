// A device of the playground: whom it is signed in as, and what its buttons do.

import {
  ANONYMOUS, API, USERPASS,
  announce, durationText, find, findAll, isStepDone, keepOfApp, keptOfApp, makeElement, markDone,
  now, providerPath, service, timeText, utcDay,
} from "./page.js";
import { explainLastCall, send } from "./calls.js";

const LOGIN_KEY_LIFETIME = 24 * 3600 * 1000; // milliseconds

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
  former_ids: "ids of guests that were merged into this user; your app’s data may still have them",
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

/** What a device keeps in this browser, so that a reload comes back as the same user. */
const NOBODY = {
  loginKey: "", // of the sign-in as a guest; stored before the call
  loginKeyMadeAt: 0, // milliseconds
  accessToken: "",
  refreshToken: "",
  userId: "",
  expiresAt: null, // milliseconds; null if it is not known, or the user is permanent
  expiryKnownOn: "",
};

/** Return 32 random bytes as base64url: a login key. */
function makeLoginKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const text = btoa(String.fromCharCode(...bytes)).slice(0, 43);
  return text.replaceAll("+", "-").replaceAll("/", "_");
}

// --- addresses that were registered here, and that no user has yet

const unlinkedAddresses = () => keptOfApp("unlinked") ?? [];
const isUnlinked = (email) => unlinkedAddresses().includes(email);

function noteUnlinked(email, isStillUnlinked) {
  const others = unlinkedAddresses().filter((each) => each !== email);
  keepOfApp("unlinked", isStillUnlinked ? [...others, email] : others);
}

export class Device {
  constructor(number) {
    this.name = `Device ${number}`;
    this.id = `device-${number}`;
    this.note = "";
    this.kept = { ...NOBODY };
    this.userIds = []; // all that this device has had, the newest last
    this.root = find("#device").content.firstElementChild.cloneNode(true);
    this.root.id = this.id;
    this.root.tabIndex = -1;
    find("h2", this.root).textContent = this.name;
    this.nameParts();
    this.root.addEventListener("input", showDevices);
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
    for (const button of findAll("button", this.root)) button.dataset.device = this.id;
  }

  /** Read what this browser has kept. */
  load() {
    const { userIds = [], ...rest } = keptOfApp(this.id) ?? {};
    this.kept = { ...NOBODY, ...rest };
    this.userIds = userIds;
    this.note = "";
  }

  /** Change what this browser keeps. */
  update(changes) {
    this.kept = { ...this.kept, ...changes };
    const { userId } = this.kept;
    if (userId && this.userIds.at(-1) !== userId) this.userIds.push(userId);
    keepOfApp(this.id, { ...this.kept, userIds: this.userIds });
  }

  forget() {
    this.update(NOBODY);
  }

  get isSignedIn() {
    return Boolean(this.kept.accessToken);
  }

  get claims() {
    return this.isSignedIn ? readClaims(this.kept.accessToken) : {};
  }

  get isGuest() {
    return this.claims.anonymous === true;
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

  /** Return why a button is disabled now; "" if it is not. */
  whyDisabled(action) {
    const withMail = ["register", "link", "login", "merge"].includes(action);
    if (withMail && !service.app.providers.includes(USERPASS)) {
      return "this app does not use e-mail and password";
    }
    if (withMail && !(this.email && this.password)) {
      return "fill in an address and a password";
    }
    if (action === "register") return "";
    if (action === "repeat" && !this.kept.loginKey) return "sign in as a guest first";
    // After its lifetime the key would make another guest.
    if (action === "repeat" && this.isLoginKeyOld) return "a login key works for 24 hours";
    if (action === "guest" && this.isSignedIn) return "log out first";
    if (action === "guest" || action === "repeat") {
      const isUnsolved = service.app.challenge && !this.challenge;
      return isUnsolved ? "fill in an answer to the challenge" : "";
    }
    if (action === "login") return this.whyNoLogin();
    if (!this.isSignedIn) return "nobody is signed in here";
    if (["link", "merge"].includes(action) && !this.isGuest) return "the user is permanent already";
    return "";
  }

  /** A login must not leave a guest behind, or make a second user beside it. */
  whyNoLogin() {
    if (this.isGuest) return "link the address, or bring the guest along, to keep what the guest has";
    if (this.isSignedIn) return "log out first";
    const other = otherDevice(this);
    if (other.isGuest && isUnlinked(this.email)) {
      return `link the address on ${other.name} first, or this makes a second user`;
    }
    return "";
  }

  get isLoginKeyOld() {
    return this.kept.loginKeyMadeAt + LOGIN_KEY_LIFETIME <= now();
  }

  async press(action) {
    const reason = this.whyDisabled(action);
    if (reason) return announce(`${this.name}: ${BUTTON_LABELS[action]}: ${reason}.`);
    this.note = "";
    await this[action](`${this.name}: ${BUTTON_LABELS[action]}`);
    explainLastCall(this.note);
    showDevices();
  }

  // --- signing in

  async guest(label) {
    // A key without an answer is sent again, so that it cannot make a second guest.
    if (!this.kept.loginKey || this.isLoginKeyOld) {
      this.update({ loginKey: makeLoginKey(), loginKeyMadeAt: now() });
    }
    if (!(await this.logInAnonymously(label, "guest"))) return;
    this.note = "Signed in as a guest, without entering anything.";
    if (this.id === "device-1") return markDone("guest");
    if (isStepDone("same")) markDone("other");
    if (isStepDone("merge")) markDone("another");
  }

  async repeat(label) {
    if (!(await this.logInAnonymously(label, "repeat"))) return;
    this.note = "Repeated with the same login key: the same user, and the same session.";
    if (this.id === "device-1") markDone("repeat");
  }

  async logInAnonymously(label, action) {
    const path = `${providerPath(ANONYMOUS)}/login`;
    const body = { login_key: this.kept.loginKey };
    if (service.app.challenge) body.options = { challenge: this.challenge };
    const answer = await send(label, { action, method: "POST", path, body });
    if (answer.json?.error_code === "LoginKeySpent") this.update({ loginKey: "" });
    if (this.noteRefusal(answer)) return false;
    this.openSession(answer.json);
    return true;
  }

  async register(label) {
    const path = `${providerPath(USERPASS)}/register`;
    const body = { email: this.email, password: this.password };
    const answer = await send(label, { action: "register", method: "POST", path, body });
    if (answer.json?.error_code === "AccountNameInUse" && isUnlinked(body.email)) {
      this.note = "That address is registered already. Now link it to a guest, or log in with it.";
      return;
    }
    if (this.noteRefusal(answer)) return;
    noteUnlinked(body.email, true);
    this.note = service.app.confirm_url
      ? "Registered. Now confirm the address in its mail, then link it."
      : "Registered. Now link the address to a guest, or log in with it.";
  }

  async link(label) {
    const path = `${providerPath(USERPASS)}/login?link=true`;
    const body = { username: this.email, password: this.password };
    const answer = await this.callAsUser(label, { action: "link", method: "POST", path, body });
    if (answer.status === 200 || answer.status === 409) noteUnlinked(body.username, false);
    if (this.noteRefusal(answer)) {
      if (!this.isSignedIn) this.note += " Nothing was linked.";
      return;
    }
    this.update({ accessToken: answer.json.access_token, expiresAt: null });
    this.note += "Linked. The user id is the same, and the user no longer expires.";
    markDone("link");
  }

  async login(label) {
    const path = `${providerPath(USERPASS)}/login`;
    const body = { username: this.email, password: this.password };
    const answer = await send(label, { action: "login", method: "POST", path, body });
    if (this.noteRefusal(answer)) return;
    this.openSession(answer.json);
    this.note = `Logged in with the address.${this.noteNewUser(body.username)}`;
    if (this.id === "device-2" && this.isSameUser) markDone("same");
    if (this.id === "device-1" && isStepDone("dead")) markDone("stays");
  }

  async merge(label) {
    const path = `${providerPath(USERPASS)}/login`;
    const { userId: guestId, refreshToken } = this.kept;
    const body = { username: this.email, password: this.password, merge: refreshToken };
    const answer = await send(label, { action: "merge", method: "POST", path, body });
    if (this.noteRefusal(answer)) return;
    const { merged, user_id: userId } = answer.json;
    if (userId !== guestId) this.update(NOBODY);
    this.openSession(answer.json);
    if (merged) {
      this.note = `Logged in. The guest ${guestId} was merged into this user, as a former id.`;
      noteUnlinked(body.username, false);
      if (this.id !== "device-2") return;
      if (this.isSameUser) markDone("merge");
      else this.note += " This is another user than on Device 1.";
    } else if (userId === guestId) {
      noteUnlinked(body.username, false);
      this.note = "Logged in. The address had no user, so it was linked to the guest.";
    } else {
      this.note =
        `This was a plain login: the guest ${guestId} was gone already, so it was not merged.` +
        this.noteNewUser(body.username);
    }
  }

  /** Say so if the login has made the user of an address. */
  noteNewUser(email) {
    if (!isUnlinked(email)) return "";
    noteUnlinked(email, false);
    return " The address had no user yet, so this is a new user.";
  }

  // --- calls of somebody who is signed in

  /**
   * Make a call with the access token. If it is refused, refresh it and repeat the call
   * once, as the SDKs do. Other refusals, such as a wrong password, are not repeated.
   */
  async callAsUser(label, call) {
    const answer = await send(label, { ...call, token: this.kept.accessToken });
    if (answer.status !== 401 || answer.json?.error_code !== "InvalidSession") return answer;
    const refreshed = await this.requestToken(`${this.name}: Refresh, after the 401`);
    if (refreshed.status >= 300 || !refreshed.json) return refreshed;
    this.note = "The access token was refused, so the page refreshed it and repeated the call. ";
    return send(`${label}, repeated once`, { ...call, token: this.kept.accessToken });
  }

  /** Get another access token. If the session has ended, forget it. */
  async requestToken(label) {
    const path = `${API}/auth/session`;
    const token = this.kept.refreshToken;
    const answer = await send(label, { action: "refresh", method: "POST", path, token });
    if (answer.status === 401) this.endSession();
    else if (answer.json?.access_token) {
      this.update({ accessToken: answer.json.access_token });
      // The first refresh of a day extends a guest's life; its answer does not say so.
      if (utcDay(now()) !== this.kept.expiryKnownOn) this.update({ expiresAt: null });
    }
    return answer;
  }

  async refresh(label) {
    const answer = await this.requestToken(label);
    if (this.noteRefusal(answer)) return;
    this.note = "A new access token. The refresh token stays the same.";
    if (this.id === "device-1") markDone("refresh");
  }

  async profile(label) {
    const profile = await this.readProfile(label);
    if (!profile) return;
    const providers = profile.identities.map((identity) => identity.provider_type).join(", ");
    const { email } = profile.data;
    this.note += `Identities: ${providers}.${email ? ` E-mail: ${email}.` : ""}`;
  }

  async readProfile(label) {
    const path = `${API}/auth/profile`;
    const answer = await this.callAsUser(label, { action: "profile", method: "GET", path });
    if (this.noteRefusal(answer)) return undefined;
    this.noteExpiry(answer.json.expires_at);
    return answer.json;
  }

  /** After a reload: ask whether the service still knows the user whose tokens are kept. */
  async comeBack() {
    if (!this.isSignedIn) return;
    const kind = this.isGuest ? "guest" : "user";
    if (await this.readProfile(`${this.name}: Come back`)) {
      this.note += `Came back as the same ${kind}, because this browser has kept the tokens.`;
      if (this.id === "device-1") markDone("back");
    }
    explainLastCall(this.note);
  }

  async everywhere(label) {
    await this.endSessions(label, "everywhere", "?everywhere=true");
    if (!this.isSignedIn) this.note ||= "Logged out on all devices. The user still exists.";
  }

  async logout(label) {
    await this.endSessions(label, "logout", "");
    if (this.isSignedIn || this.note) return;
    this.note = "Logged out. The user still exists.";
    if (this.id === "device-2" && isStepDone("same")) markDone("logout");
  }

  async endSessions(label, action, query) {
    const path = `${API}/auth/session${query}`;
    const wasGuest = this.isGuest;
    const token = this.kept.refreshToken;
    const answer = await send(label, { action, method: "DELETE", path, token });
    if (answer.status === 401) return this.endSession();
    if (this.noteRefusal(answer)) return;
    this.forget();
    if (wasGuest) {
      this.note = "Logged out. The guest was deleted, because no one could sign in as this guest again.";
    }
  }

  /** Forget a session that the service has refused, and say what that means. */
  endSession() {
    const { userId } = this.kept;
    const wasGuest = this.isGuest;
    this.forget();
    this.note = wasGuest
      ? `Refused, 401: the guest ${userId} was removed for good.`
      : `Refused, 401: this session of ${userId} has ended. The user can log in again.`;
    if (wasGuest && this.id === "device-2" && isStepDone("another")) markDone("dead");
  }

  /** Show the service's error message, if there is one; return whether there was. */
  noteRefusal({ status, json }) {
    if (status >= 200 && status < 300 && json) return false;
    if (!this.isSignedIn && this.note) return true; // the session has ended, as the note says
    this.note += status
      ? `Refused, ${status}: ${json?.error ?? json?.message ?? "see the answer"}.`
      : "No answer. Is `anonauth serve` still running?";
    if (json?.error_code === "AccountNameInUse") {
      this.note += " That address is taken. Choose another one";
      this.note += this.isGuest ? ", or log in and bring the guest along." : ".";
    }
    if (json?.error_code === "LoginKeySpent") this.note += " Sign in as a guest for a new one.";
    return true;
  }

  openSession({ access_token, refresh_token, user_id, expires_at }) {
    this.update({ accessToken: access_token, refreshToken: refresh_token, userId: user_id });
    this.noteExpiry(expires_at);
  }

  noteExpiry(expiresAt) {
    const at = expiresAt === undefined ? null : Date.parse(expiresAt);
    this.update({ expiresAt: at, expiryKnownOn: utcDay(now()) });
  }

  // --- what the page shows

  get isSameUser() {
    const { userId } = this.kept;
    return Boolean(userId) && userId === otherDevice(this).kept.userId;
  }

  show() {
    const put = (selector, words) => {
      const target = find(selector, this.root);
      if (target.textContent !== words) target.textContent = words;
    };
    let userText = "Nobody is signed in.";
    if (this.isSignedIn) {
      userText = this.isGuest ? "A guest (an anonymous user)." : "A permanent user.";
    }
    put(".who", userText);
    find(".same", this.root).hidden = !this.isSameUser;
    put(".same", this.isSameUser ? `✓ The same user as on ${otherDevice(this).name}` : "");
    put(".user-id", this.kept.userId || "–");
    put(".note", this.note);
    find(".challenge", this.root).hidden = !service.app.challenge;
    put(".reasons", this.showButtons());
    this.showTimes();
    find("details", this.root).hidden = !this.isSignedIn;
    find(".claims", this.root).replaceChildren(...claimRows(this.claims));
  }

  /** Mark the device's buttons, here and among the steps; return why some are disabled. */
  showButtons() {
    const reasons = new Map();
    for (const button of findAll(`[data-device="${this.id}"]`)) {
      const reason = this.whyDisabled(button.dataset.do);
      if (reason) {
        button.setAttribute("aria-disabled", "true");
        button.setAttribute("aria-describedby", `${this.id}-reasons`);
        const labels = reasons.get(reason) ?? new Set();
        reasons.set(reason, labels.add(BUTTON_LABELS[button.dataset.do]));
      } else {
        button.removeAttribute("aria-disabled");
        button.removeAttribute("aria-describedby");
      }
    }
    // Enter in a field presses the form's first submit button.
    find("[data-do=link]", this.root).type = this.isGuest ? "submit" : "button";
    find("[data-do=login]", this.root).type = this.isGuest ? "button" : "submit";
    return [...reasons].map(([why, labels]) => `${[...labels].join(", ")}: ${why}.`).join(" ");
  }

  /** Show the times that change every second. */
  showTimes() {
    const lives = find(".lives", this.root);
    const lasts = find(".lasts", this.root);
    const { expiresAt } = this.kept;
    const { exp } = this.claims; // seconds
    const isDead = this.isGuest && expiresAt !== null && expiresAt <= now();
    const isStale = exp * 1000 <= now();
    if (!this.isSignedIn) lives.textContent = "–";
    else if (!this.isGuest) lives.textContent = "never";
    else if (expiresAt === null) lives.textContent = "later than before; press “Who am I?”";
    else if (isDead) lives.textContent = `${timeText(expiresAt)}: expired. Press Refresh.`;
    else lives.textContent = `${timeText(expiresAt)}, in ${durationText(expiresAt - now())}`;
    if (!this.isSignedIn) lasts.textContent = "–";
    else if (isStale) lasts.textContent = "expired; the next call refreshes it";
    else lasts.textContent = `good for ${durationText(exp * 1000 - now())}`;
    lives.classList.toggle("bad", isDead);
    lasts.classList.toggle("bad", isStale);
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
    const words = typeof value === "string" ? value : JSON.stringify(value);
    cell.append(makeElement("code", isTime ? `${value} (${timeText(value * 1000)})` : words));
    row.append(head, cell);
    return row;
  });
}

export const devices = [];
const otherDevice = (device) => devices.find((each) => each !== device);

export function showDevices() {
  for (const device of devices) device.show();
}
