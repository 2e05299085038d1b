// An access token that is too old to delete a user, or to link a second identity: each
// SDK refreshes it once and repeats its call once, except Realm Core when it links.
import assert from "node:assert/strict";
import { after, test } from "node:test";

import * as newWeb from "realm-web";
import * as oldWebModule from "realm-web-1";
import stitch from "mongodb-stitch-server-sdk";
import stitchCore from "mongodb-stitch-core-sdk";

import { CoreApp, CoreCredentials, coreCalls } from "./core.mjs";
import {
  advance,
  anAddress,
  APP,
  BASE_URL,
  byToken,
  claimsOf,
  linkLine,
  MapStorage,
  openApp,
} from "./support.mjs";

const API = `${BASE_URL}/api/client/v2.0`;
const LINK = linkLine("custom-token", 200);
const LINK_REFUSED = linkLine("custom-token", 401);
const PROFILE = "GET /auth/profile 200";
const REFRESH = "POST /auth/session 200";
const MOST_CALLS = 40; // ends an endless loop

// SDKs compare tokens with their own clock, which here agrees with the service's.
const realNow = Date.now;
let ahead = 0;
Date.now = () => realNow() + ahead;

async function growOld() {
  await advance("PT7M");
  ahead += 7 * 60 * 1000;
}

const aJwt = () => byToken(anAddress()).payload.token;

/** The calls of these tests in one SDK's own API; `lines` are the requests it sent. */
const SDKS = {
  "realm-web 2.0.1": () => {
    const { app, lines } = openApp();
    return fromWeb(newWeb, app, lines);
  },
  "realm-web 1.7.1": () => {
    const oldWeb = oldWebModule.default ?? oldWebModule;
    const { app, lines } = openApp({ AppClass: oldWeb.App });
    return fromWeb(oldWeb, app, lines);
  },
  "Stitch 4.9.0": () => ({
    lines: stitchWire.lines,
    logIn: async () => {
      await stitchClient.auth.logout();
      return stitchClient.auth.loginWithCredential(new stitch.AnonymousCredential());
    },
    link: (user, jwt) => user.linkWithCredential(new stitch.CustomCredential(jwt)),
    isLoggedIn: () => stitchClient.auth.isLoggedIn,
  }),
};

// Stitch has one client per app in a process.
const stitchWire = recorder();
const stitchClient = stitch.Stitch.initializeAppClient(
  APP,
  new stitch.StitchAppClientConfiguration.Builder()
    .withBaseUrl(BASE_URL)
    .withStorage(new stitchCore.MemoryStorage(APP))
    .withTransport({
      roundTrip: async ({ url, method, headers, body }) => {
        const answer = await stitchWire.send(url, { method, headers, body });
        return {
          statusCode: answer.status,
          headers: Object.fromEntries(answer.headers),
          body: await answer.text(),
        };
      },
    })
    .build(),
);
after(() => stitchClient.close());

/** Both generations of realm-web have these. */
function fromWeb({ Credentials, UserState }, app, lines) {
  return {
    lines,
    logIn: () => app.logIn(Credentials.anonymous()),
    link: (user, jwt) => user.linkCredentials(Credentials.jwt(jwt)),
    remove: (user) => app.deleteUser(user),
    isLoggedIn: () => app.currentUser?.state === UserState.Active,
  };
}

function recorder() {
  const calls = [];
  const send = async (url, init) => {
    if (calls.length >= MOST_CALLS) throw new Error("the SDK does not stop");
    const answer = await fetch(url, init);
    calls.push(`${init.method} ${url.replace(API, "")} ${answer.status}`);
    return answer;
  };
  return { lines: () => calls, send };
}

for (const [name, open] of Object.entries(SDKS)) {
  test(`given ${name} when a guest links with an older token then no refresh`, async () => {
    const { logIn, link, lines } = open();
    const user = await logIn();
    await growOld();
    const before = lines().length;

    await link(user, aJwt());

    assert.deepEqual(lines().slice(before), [LINK, PROFILE]);
  });

  test(`given ${name} when a second identity is linked then one refresh`, async () => {
    const { logIn, link, lines, isLoggedIn } = open();
    const user = await logIn();
    await link(user, aJwt());
    await growOld();
    const before = lines().length;

    await link(user, aJwt());

    assert.deepEqual(lines().slice(before), [LINK_REFUSED, REFRESH, LINK, PROFILE]);
    assert.equal(isLoggedIn(), true);
  });

  if (name.startsWith("Stitch")) continue; // Stitch cannot delete users

  test(`given ${name} when a user deletes itself then one refresh`, async () => {
    const { logIn, link, lines, remove } = open();
    const user = await logIn();
    await link(user, aJwt());
    await growOld();
    const before = lines().length;

    await remove(user);

    assert.deepEqual(lines().slice(before), [
      "DELETE /auth/delete 401",
      REFRESH,
      "DELETE /auth/delete 200",
      "DELETE /auth/session 401", // realm-web's own; the session no longer exists
    ]);
  });
}

const coreLines = (since) =>
  coreCalls
    .slice(since)
    .map(({ method, url, status }) => `${method} ${url.replace(API, "")} ${status}`);

const openCore = () => new CoreApp({ id: APP, baseUrl: BASE_URL });

test("given Core when a user deletes itself then one refresh", async () => {
  const app = openCore();
  const user = await app.logIn(CoreCredentials.anonymous());
  await growOld();
  const before = coreCalls.length;

  await app.deleteUser(user);

  assert.deepEqual(coreLines(before), [
    "DELETE /auth/delete 401",
    REFRESH,
    "DELETE /auth/delete 200",
  ]);
});

test("given Core when a second identity is linked then refreshCustomData first", async () => {
  const app = openCore();
  const user = await app.logIn(CoreCredentials.anonymous(false));
  await user.linkCredentials(CoreCredentials.jwt(aJwt()));
  assert.equal(claimsOf(user.accessToken).anonymous, false);
  await growOld();
  const before = coreCalls.length;

  await assert.rejects(user.linkCredentials(CoreCredentials.jwt(aJwt())));
  const refused = coreLines(before);
  await user.refreshCustomData();
  await user.linkCredentials(CoreCredentials.jwt(aJwt()));

  assert.deepEqual(refused, [LINK_REFUSED]);
  assert.deepEqual(coreLines(before), [LINK_REFUSED, REFRESH, LINK, PROFILE]);
  assert.equal(user.isLoggedIn, true);
  assert.equal(user.identities.length, 3);
});
