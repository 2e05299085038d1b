// The playground of `anonauth serve`: starts the page, and gives every button its work.
// It is for development only: tokens are kept in this browser, and shown on request.

import {
  announce, API, fetchText, find, findAll, forgetUsers, keep, kept, loadSteps, makeElement,
  service, showError,
} from "./page.js";
import { showKinds } from "./calls.js";
import { Device, devices, showDevices } from "./device.js";
import {
  advanceClock, clearEvents, confirmNewest, enqueue, filterEvents, pollNews, resetLists, showClock,
} from "./news.js";

let apps = [];

/** Show what this browser has kept, also if another tab has changed it. */
function loadKept() {
  loadSteps();
  for (const device of devices) device.load();
  showDevices();
}

function forgetBrowser() {
  forgetUsers();
  loadKept();
  announce(
    "This browser has forgotten all tokens. Nobody can be its guests again, and the service " +
      "removes them after 90 days.",
  );
}

async function readKeyIds() {
  const { text } = await fetchText(`${API}/app/${apps[0].id}/.well-known/jwks.json`);
  return JSON.parse(text).keys.map((key) => key.kid);
}

/** Forget what another service gave, such as one that was stopped: this one has new keys. */
async function forgetOtherServices() {
  const ids = await readKeyIds();
  const before = kept("keys") ?? ids;
  if (!before.some((id) => ids.includes(id))) forgetUsers();
  keep("keys", ids);
}

async function advance(button) {
  await advanceClock(button);
  keep("keys", await readKeyIds()); // the service may have replaced its keys meanwhile
}

async function chooseApp(id) {
  service.app = apps.find((each) => each.id === id) ?? apps[0];
  find("#app").value = service.app.id;
  keep("app", service.app.id);
  find("#about").replaceChildren(
    "For an SDK: base URL ",
    makeElement("code", location.origin),
    ", app id ",
    makeElement("code", service.app.id),
    `. Ways to sign in: ${service.app.providers.join(", ")}.`,
  );
  find("#step-confirm").hidden = !service.app.confirm_url;
  resetLists();
  loadKept();
  for (const device of devices) await device.comeBack();
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

function giveButtonsWork() {
  const onClick = (button, work) => button.addEventListener("click", () => enqueue(work));
  for (const device of devices) {
    for (const button of findAll(`[data-device="${device.id}"]`)) {
      onClick(button, () => device.press(button.dataset.do));
    }
  }
  for (const button of findAll("[data-advance]")) onClick(button, () => advance(button));
  onClick(find("#reload"), () => location.reload());
  onClick(find("#forget"), forgetBrowser);
  onClick(find("#confirm"), confirmNewest);
  onClick(find("#clear-events"), clearEvents);
  find("#events-of").addEventListener("change", filterEvents);
  find("#app").addEventListener("change", ({ target }) => enqueue(() => chooseApp(target.value)));
  addEventListener("storage", () => enqueue(loadKept));
}

async function start() {
  const description = await fetchText("/_local/stack");
  apps = JSON.parse(description.text).apps;
  devices.push(new Device(1), new Device(2));
  find("#app").append(...apps.map((each) => new Option(each.id)));
  find("#app-choice").hidden = apps.length === 1;
  showKinds();
  giveButtonsWork();
  await forgetOtherServices();
  enqueue(() => chooseApp(kept("app")));
  setInterval(showClock, 1000);
  await pollNews();
  await showApi();
}

start().catch(() => showError("The page could not be set up. Reload it; is the service running?"));
