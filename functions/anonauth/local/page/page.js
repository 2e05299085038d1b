// What all parts of the playground share: elements, texts of times, the service's clock,
// and what this browser keeps. No other file touches the browser's storage.

export const API = "/api/client/v2.0";
export const USERPASS = "local-userpass";
export const ANONYMOUS = "anon-user";
export const MOST_SHOWN = 50;

/** The app that the page uses, and by how many milliseconds the service is ahead. */
export const service = { app: undefined, ahead: 0 };

export const providerPath = (provider) =>
  `${API}/app/${service.app.id}/auth/providers/${provider}`;

// --- elements

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

export function makeElement(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Show what happened, in the line that is always in sight. */
export function announce(words) {
  find("#status").textContent = words;
}

export function showError(words) {
  const place = find("#trouble");
  if (place.textContent !== words) place.textContent = words;
  place.hidden = !words;
}

export async function fetchText(path) {
  const response = await fetch(path, { cache: "no-store", credentials: "omit" });
  return { status: response.status, text: await response.text() };
}

// --- the service's time, which can be ahead of this machine's

export const now = () => Date.now() + service.ahead;
export const utcDay = (ms) => new Date(ms).toISOString().slice(0, 10);

export function timeText(ms) {
  const text = new Date(ms).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, 19)} UTC`;
}

export function durationText(ms) {
  const seconds = Math.floor(ms / 1000);
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor((seconds % 86400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return `${minutes} min ${seconds % 60} s`;
}

// --- what this browser keeps, so that a reload comes back as the same user

const PREFIX = "anonauth-playground:";
const APP_PREFIX = `${PREFIX}app:`;

// Some browsers block the storage. The page then works until it is reloaded.
function storage() {
  try {
    return window.localStorage;
  } catch {
    return undefined;
  }
}

/** Return a value that was kept; undefined if there is none. */
export function kept(name) {
  try {
    return JSON.parse(storage().getItem(PREFIX + name)) ?? undefined;
  } catch {
    return undefined;
  }
}

export function keep(name, value) {
  try {
    storage().setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Blocked or full.
  }
}

export const keptOfApp = (name) => kept(`app:${service.app.id}:${name}`);
export const keepOfApp = (name, value) => keep(`app:${service.app.id}:${name}`, value);

/** Forget the users of all apps, and which steps were done. */
export function forgetUsers() {
  const names = Object.keys(storage() ?? {}).filter((name) => name.startsWith(APP_PREFIX));
  for (const name of names) storage().removeItem(name);
}

// --- the steps to follow

const doneSteps = new Set();

export const isStepDone = (step) => doneSteps.has(step);

export function markDone(step) {
  if (doneSteps.has(step)) return;
  doneSteps.add(step);
  keepOfApp("done", [...doneSteps]);
  showSteps();
}

export function loadSteps() {
  doneSteps.clear();
  for (const step of keptOfApp("done") ?? []) doneSteps.add(step);
  showSteps();
}

const actionOf = ({ dataset }) => [dataset.device, dataset.do, dataset.advance].join();

/** Show which steps are done. The next step’s buttons are highlighted on the devices too. */
function showSteps() {
  const steps = findAll("#story > li");
  const next = steps.find((step) => !doneSteps.has(step.dataset.step));
  for (const step of steps) {
    step.classList.toggle("done", doneSteps.has(step.dataset.step));
    step.classList.toggle("next", step === next);
  }
  const actions = next ? findAll("button:not(.aside)", next).map(actionOf) : [];
  for (const button of findAll("[data-do], [data-advance]")) {
    button.classList.toggle("main", !button.closest("#story") && actions.includes(actionOf(button)));
  }
  // Where the list scrolls by itself, the next step is in sight.
  const list = find("#steps");
  if (next && list.scrollHeight > list.clientHeight) list.scrollTop = next.offsetTop - 180;
}
