// What the playground hears from the service: its clock, mails and events.

import {
  MOST_SHOWN, USERPASS,
  announce, fetchText, find, findAll, isStepDone, makeElement, markDone, now, providerPath, service,
  showError, timeText,
} from "./page.js";
import { send } from "./calls.js";
import { devices, showDevices } from "./device.js";

const POLL_MS = 2000;

let lastWork = Promise.resolve();

/** Do the work of a press after all earlier presses, so that fast clicks lose nothing. */
export function enqueue(work) {
  lastWork = lastWork
    .then(work)
    .then(readNews)
    .catch((error) => showError(`The page failed: ${error.message}`));
}

let reading = Promise.resolve();

/** Read the news after earlier reads have ended, so that answers stay in order. */
function readNews() {
  reading = reading.then(readOnce);
  return reading;
}

async function readOnce() {
  try {
    const [clock, outbox, events] = await Promise.all(
      ["clock", "outbox", "events"].map((name) => fetchText(`/_local/${name}`)),
    );
    service.ahead = Date.parse(JSON.parse(clock.text).now) - Date.now();
    showList("mails", outbox, mailItem);
    showList("events", events, eventItem);
    filterEvents();
    showError("");
  } catch {
    showError("The service does not answer. Is `anonauth serve` still running?");
  }
  showClock();
}

export async function pollNews() {
  if (!document.hidden) await readNews();
  setTimeout(pollNews, POLL_MS);
}

export function showClock() {
  find("#now").textContent = timeText(now());
  for (const device of devices) device.showTimes();
}

export async function advanceClock(button) {
  const body = { advance: button.dataset.advance };
  const label = `Clock: ${button.textContent.trim().replace("Clock: ", "")}`;
  await send(label, { action: "clock", method: "POST", path: "/_local/clock", body });
  await readNews();
  showDevices();
}

// --- mails and events

const shownEntries = {}; // by list: its entries as text, the oldest first

export function resetLists() {
  for (const name of Object.keys(shownEntries)) {
    find(`#${name}`).replaceChildren();
    delete shownEntries[name];
  }
}

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
  if (name === "mails" && service.app.providers.includes(USERPASS) && !service.app.confirm_url) {
    return "This app sends no mail. Without mail in the settings, every address counts as confirmed.";
  }
  return "None yet.";
}

function eventItem({ time, "detail-type": type, detail }) {
  if (type === "user.deleted" && detail.reason === "expired" && isStepDone("dead")) {
    markDone("deleted");
  }
  const item = makeElement("li");
  item.dataset.users = [detail.uid, detail.into].filter(Boolean).join(" ");
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

/** Show the events of the chosen device: of each user that it has had. */
export function filterEvents() {
  const device = devices.find((each) => each.id === find("#events-of").value);
  const items = findAll("#events > li");
  for (const item of items) {
    const userIds = item.dataset.users.split(" ");
    item.hidden = Boolean(device) && !userIds.some((id) => device.userIds.includes(id));
  }
  const isEmpty = items.length > 0 && items.every((item) => item.hidden);
  find("#no-events-here").hidden = !isEmpty;
}

export async function clearEvents() {
  const response = await fetch("/_local/events", { method: "DELETE", credentials: "omit" });
  announce(response.ok ? "The list of events was cleared." : "The list of events was not cleared.");
}

function mailItem(mail) {
  const item = makeElement("li");
  item.append(
    makeElement("h3", mail.subject),
    makeElement("p", `to ${mail.to}, ${timeText(Date.parse(mail.sent_at))}`, "why"),
    makeElement("pre", mail.text),
  );
  const link = linkIn(mail.text);
  if (link) {
    const confirm = makeElement("button", "Confirm the address");
    confirm.type = "button";
    confirm.addEventListener("click", () => enqueue(() => confirmAddress(link)));
    item.append(confirm);
  }
  return item;
}

/** Return token and tokenId of the link in a mail; undefined if it has no confirm link. */
function linkIn(text) {
  const page = service.app.confirm_url?.split("#")[0];
  const url = page && text.split(/\s+/).find((word) => word.startsWith(page));
  const query = new URLSearchParams(url?.split("#")[0].split("?")[1]);
  const [token, tokenId] = [query.get("token"), query.get("tokenId")];
  return token && tokenId ? { token, tokenId } : undefined;
}

/** Confirm the address of the newest mail that has a link for it. */
export async function confirmNewest() {
  const links = (shownEntries.mails ?? []).map((mail) => linkIn(JSON.parse(mail).text));
  const link = links.findLast(Boolean);
  if (link) await confirmAddress(link);
  else announce("There is no mail to confirm yet. Register the address first.");
}

async function confirmAddress(body) {
  const path = `${providerPath(USERPASS)}/confirm`;
  await send("Mail: Confirm the address", { action: "confirm", method: "POST", path, body });
}
