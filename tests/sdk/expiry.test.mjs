// Expiry: moves the clock of the service, which only goes forward.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Credentials, UserState } from "realm-web";

import {
  aRegisteredAddress,
  advance,
  byPassword,
  claimsOf,
  linkLine,
  logInElsewhere,
  openApp,
  openGuest,
} from "./support.mjs";

const REFRESHED = [
  "GET /auth/profile 401",
  "POST /auth/session 200",
  "GET /auth/profile 200",
];

test("given an expired access token when used then the SDK gets a new one", async () => {
  const { app, lines } = openApp();
  const user = await app.logIn(Credentials.anonymous());
  const { accessToken, refreshToken } = user;
  await advance("PT32M");

  await user.refreshProfile();

  assert.deepEqual(lines().slice(-3), REFRESHED);
  assert.notEqual(user.accessToken, accessToken);
  assert.equal(user.refreshToken, refreshToken);
  assert.equal(claimsOf(user.accessToken).sub, user.id);
});

test("given an expired access token when linking then one refresh fixes it", async () => {
  const { app, user, lines } = await openGuest();
  const email = await aRegisteredAddress(app);
  await advance("PT32M");

  await user.linkCredentials(byPassword(email));

  assert.deepEqual(lines().slice(-4), [
    linkLine("local-userpass", 401),
    "POST /auth/session 200",
    linkLine("local-userpass", 200),
    "GET /auth/profile 200",
  ]);
  assert.equal((await logInElsewhere(byPassword(email))).id, user.id);
});

test("given 89 d 23 h of silence when the guest returns then it lives on", async () => {
  const { app, storage } = openApp();
  const { id } = await app.logIn(Credentials.anonymous());
  await advance("P89DT23H");

  const restarted = openApp({ storage });
  const user = await restarted.app.logIn(Credentials.anonymous());

  assert.equal(user.id, id);
  assert.deepEqual(restarted.lines().slice(-3), REFRESHED);

  await advance("P89DT23H");
  await user.refreshProfile();
  assert.equal(user.state, UserState.Active);
});

test("given 91 d 2 h of silence when the guest returns then it is gone", async () => {
  const { app, lines } = openApp();
  const user = await app.logIn(Credentials.anonymous());
  await advance("P91DT2H");

  await assert.rejects(user.refreshProfile(), { statusCode: 401 });

  assert.deepEqual(lines().slice(-2), [
    "GET /auth/profile 401",
    "POST /auth/session 401",
  ]);
  assert.equal(user.state, UserState.LoggedOut);
  await app.removeUser(user);
  const guest = await app.logIn(Credentials.anonymous());
  assert.notEqual(guest.id, user.id);
});

test("given 3 years of silence when both return then only the linked one lives", async () => {
  const linked = await openGuest();
  const guest = await openGuest();
  const email = await aRegisteredAddress(linked.app);
  await linked.user.linkCredentials(byPassword(email));
  await advance("P3Y");

  const user = await logInElsewhere(byPassword(email));

  assert.equal(user.id, linked.user.id);
  await assert.rejects(guest.user.refreshProfile(), { statusCode: 401 });
  assert.equal(guest.user.state, UserState.LoggedOut);
  // The session was idle for more than 60 days, but its user is not lost.
  await assert.rejects(linked.user.refreshProfile(), { statusCode: 401 });
  assert.equal((await linked.app.logIn(byPassword(email))).id, user.id);
});
