// The calls of the playground: make them, list them, and write them as code to copy.
// Answers of the service are inserted as text, never as HTML.

import {
  ANONYMOUS, API, MOST_SHOWN, USERPASS,
  announce, find, findAll, keep, kept, makeElement, service,
} from "./page.js";

/**
 * Make a call, list it, and return {status, json}. Status 0 means no answer.
 *
 * `action` is what the user wants; it decides which function of an SDK does the same.
 */
export async function send(label, { action, method, path, token, body }) {
  const call = { action, method, url: location.origin + path, token, body, app: service.app.id };
  const answer = { status: 0, json: undefined, text: "" };
  try {
    const response = await fetch(call.url, {
      method,
      headers: headersOf(call),
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
  listCall(label, call, answer);
  return answer;
}

function headersOf({ token, body }) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return headers;
}

// --- a call as code

const text = (value) => JSON.stringify(value);

const quoted = (word) =>
  /^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

function curlCode({ method, url, token, body }) {
  const words = ["curl"];
  if (method !== (body === undefined ? "GET" : "POST")) words.push("-X", method);
  words.push(quoted(url));
  for (const [name, value] of Object.entries(headersOf({ token, body }))) {
    words.push("-H", quoted(`${name}: ${value}`));
  }
  if (body !== undefined) words.push("-d", quoted(text(body)));
  return words.join(" ");
}

function fetchCode(call) {
  const lines = [`  method: ${text(call.method)},`];
  const headers = headersOf(call);
  if (Object.keys(headers).length) lines.push(`  headers: ${text(headers)},`);
  if (call.body !== undefined) lines.push(`  body: JSON.stringify(${text(call.body)}),`);
  return [
    `const answer = await fetch(${text(call.url)}, {`,
    ...lines,
    "});",
    "console.log(answer.status, await answer.json());",
  ].join("\n");
}

// A JSON text of strings and objects means the same in Python.
function pythonCode(call) {
  const lines = [`    ${text(call.url)},`, `    method=${text(call.method)},`];
  const headers = headersOf(call);
  if (Object.keys(headers).length) lines.push(`    headers=${text(headers)},`);
  if (call.body !== undefined) lines.push(`    data=json.dumps(${text(call.body)}).encode(),`);
  return [
    "import json, urllib.request",
    "",
    "request = urllib.request.Request(",
    ...lines,
    ")",
    "with urllib.request.urlopen(request) as answer:",
    "    print(json.dumps(json.load(answer)))",
  ].join("\n");
}

/** What the module's functions do; a call that is not here is made with fetch. */
const MODULE_CODE = {
  guest: () => "console.log(await auth.token(), auth.user);",
  repeat: () =>
    "// The module sends a sign-in without an answer again, with the same login key.\n" +
    "console.log(await auth.token(), auth.user);",
  refresh: () =>
    "// Without `fresh` it refreshes a token that is about to expire.\n" +
    "console.log(await auth.token({ fresh: true }));",
  profile: ({ url }) =>
    "const headers = { Authorization: `Bearer ${await auth.token()}` };\n" +
    `const answer = await fetch(${text(url)}, { headers });\n` +
    "console.log(answer.status, await answer.json());",
  link: ({ body }) =>
    `await auth.token();\nawait auth.link(${text(USERPASS)}, ${text(body)});\n` +
    "console.log(auth.user);",
  login: ({ body }) =>
    `await auth.logIn(${text(USERPASS)}, ${text(body)});\nconsole.log(auth.user);`,
  merge: ({ body: { merge, ...credential } }) =>
    `await auth.token();\nawait auth.logIn(${text(USERPASS)}, ${text(credential)}, ` +
    "{ merge: true });\nconsole.log(auth.user);",
  logout: () => "await auth.logOut();",
  everywhere: () => "await auth.logOut({ everywhere: true });",
};

function moduleCode(call) {
  const write = MODULE_CODE[call.action];
  // The module sends no answer to a challenge.
  if (!write || call.body?.options) return `// anonauth.mjs has no function for this.\n${fetchCode(call)}`;
  return [
    `const { anonauth } = await import(${text(`${location.origin}/anonauth.mjs`)});`,
    `const auth = anonauth({ app: ${text(call.app)} });`,
    write(call),
  ].join("\n");
}

const byPassword = ({ username, password }) =>
  `Realm.Credentials.emailPassword(${text(username)}, ${text(password)})`;

const GUEST_CODE = "app.currentUser ?? (await app.logIn(Realm.Credentials.anonymous()));";

/** What realm-web's functions do; a call that is not here is made with fetch. */
const REALM_CODE = {
  guest: ({ body }) =>
    body.options
      ? REALM_CODE.repeat({ body })
      : "const user = await app.logIn(Realm.Credentials.anonymous());\nconsole.log(user.id);",
  repeat: ({ body }) =>
    `const credentials = new Realm.Credentials("${ANONYMOUS}", "${ANONYMOUS}", false, ` +
    `${text(body)});\nconst user = await app.logIn(credentials);\nconsole.log(user.id);`,
  refresh: () =>
    `const user = ${GUEST_CODE}\nawait user.refreshAccessToken();\nconsole.log(user.id);`,
  profile: () =>
    `const user = ${GUEST_CODE}\nawait user.refreshProfile();\n` +
    "console.log(user.id, user.identities);",
  register: ({ body }) => `await app.emailPasswordAuth.registerUser(${text(body)});`,
  confirm: ({ body }) => `await app.emailPasswordAuth.confirmUser(${text(body)});`,
  link: ({ body }) =>
    `const user = ${GUEST_CODE}\nawait user.linkCredentials(${byPassword(body)});\n` +
    "console.log(user.id);",
  login: ({ body }) =>
    `const user = await app.logIn(${byPassword(body)});\nconsole.log(user.id);`,
  merge: ({ body: { merge, ...credential } }) =>
    `const guest = ${GUEST_CODE}\n` +
    `const credential = { ...${text(credential)}, merge: guest.refreshToken };\n` +
    `const credentials = new Realm.Credentials("${USERPASS}", "${USERPASS}", false, credential);\n` +
    "const user = await app.logIn(credentials);\n" +
    "if (user.id !== guest.id) await app.removeUser(guest);\nconsole.log(user.id);",
  logout: () => `const user = ${GUEST_CODE}\nawait user.logOut();`,
};

function realmCode(call) {
  const write = REALM_CODE[call.action];
  if (!write) return `// realm-web has no function for this.\n${fetchCode(call)}`;
  return [
    'import * as Realm from "realm-web"; // npm install realm-web',
    "",
    `const app = new Realm.App({ id: ${text(call.app)}, baseUrl: ${text(location.origin)} });`,
    write(call),
  ].join("\n");
}

const KINDS = {
  curl: curlCode,
  fetch: fetchCode,
  "anonauth.mjs": moduleCode,
  "realm-web": realmCode,
  Python: pythonCode,
};

const codeOf = (call) => KINDS[find("#kind").value](call);

// --- secrets are shortened on the page: each is worth as much as a password

const shortToken = (token) =>
  token.length > 20 ? `${token.slice(0, 10)}…${token.slice(-4)}` : token;

/** Shorten secrets; a replacer for JSON.stringify. */
function shortenSecret(key, value) {
  if (typeof value !== "string") return value;
  if (key === "password") return "••••••";
  const isLong = /token$/.test(key) || ["challenge", "login_key", "merge"].includes(key);
  return isLong ? shortToken(value) : value;
}

const shortened = (call) => JSON.parse(JSON.stringify(call, shortenSecret));

const prettyAnswer = ({ json, text: raw }) =>
  json === undefined ? raw : JSON.stringify(json, shortenSecret, 2);

// --- the list

let numberOfCalls = 0;
let lastCall = "";
const shownCode = new Map(); // by element: the call that it shows

function listCall(label, call, answer) {
  numberOfCalls += 1;
  const number = numberOfCalls;
  const isGood = answer.status >= 200 && answer.status < 300;
  const outcome = answer.status ? `answered ${answer.status}` : "no answer";
  const status = makeElement("p", outcome, isGood ? "answered good" : "answered bad");

  const block = makeElement("pre");
  const code = makeElement("code", codeOf(shortened(call)));
  shownCode.set(code, call);
  block.append(code);
  const copy = makeElement("button", "Copy");
  copy.type = "button";
  copy.append(makeElement("span", ` call ${number}`, "hidden-words"));
  copy.addEventListener("click", () => copyCode(call, number, code));

  const item = makeElement("li");
  item.append(makeElement("h3", `${number}. ${label}`), block, copy, status);
  if (answer.text) item.append(makeElement("pre", prettyAnswer(answer)));
  const log = find("#log");
  log.prepend(item);
  while (log.children.length > MOST_SHOWN) {
    shownCode.delete(find("code", log.lastChild));
    log.lastChild.remove();
  }
  lastCall = `Call ${number}, ${label}: ${outcome}.`;
  announce(lastCall);
}

/** Add to the last call what came of it, in the line that is always in sight. */
export function explainLastCall(words) {
  announce(`${lastCall} ${words}`.trim());
}

async function copyCode(call, number, code) {
  const kind = find("#kind").value;
  try {
    await navigator.clipboard.writeText(codeOf(call));
    announce(`Copied call ${number} for ${kind}, with its tokens and passwords.`);
  } catch {
    code.textContent = codeOf(call);
    getSelection().selectAllChildren(code);
    announce("The browser refused to copy. The whole code is selected: press Ctrl+C or ⌘C.");
  }
}

/** Let the user choose how calls are written, and remember it. */
export function showKinds() {
  const chooser = find("#kind");
  chooser.append(...Object.keys(KINDS).map((kind) => new Option(kind)));
  const before = kept("kind");
  if (before in KINDS) chooser.value = before;
  chooser.addEventListener("change", () => {
    keep("kind", chooser.value);
    for (const [code, call] of shownCode) code.textContent = codeOf(shortened(call));
  });
}
