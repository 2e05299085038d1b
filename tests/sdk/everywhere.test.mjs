// A user ends its sessions by calls that no SDK knows: how realm-web takes it on the
// devices, the one that asks and the others.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Credentials, UserState } from "realm-web";

import { BASE_URL, anAddress, byToken, openApp, profileStatus } from "./support.mjs";

const AUTH = `${BASE_URL}/api/client/v2.0/auth`;

async function call(method, path, user) {
  const headers = { Authorization: `Bearer ${user.refreshToken}` };
  const answer = await fetch(`${AUTH}${path}`, { method, headers });
  assert.equal(answer.status, 200);
  return answer.json();
}

/** Two devices of one person, each with an app and its user. */
async function openTwoDevices() {
  const credentials = byToken(anAddress());
  const [laptop, phone] = [openApp(), openApp()];
  laptop.user = await laptop.app.logIn(credentials);
  phone.user = await phone.app.logIn(credentials);
  assert.equal(laptop.user.id, phone.user.id);
  return { credentials, laptop, phone };
}

/** The next call of a device is refused, and so is the refresh: its user is out. */
async function assertLoggedOut(device) {
  const before = device.calls.length;

  await assert.rejects(device.user.refreshCustomData(), { statusCode: 401 });

  assert.deepEqual(device.lines().slice(before), ["POST /auth/session 401"]);
  assert.equal(device.user.state, UserState.LoggedOut);
  assert.equal(device.app.currentUser, null);
}

test("given two devices when logged out everywhere then both users are out", async () => {
  const { credentials, laptop, phone } = await openTwoDevices();
  const tokens = [laptop, phone].map((device) => device.user.accessToken);

  await call("DELETE", "/session?everywhere=true", laptop.user);

  assert.deepEqual(await Promise.all(tokens.map(profileStatus)), [401, 401]);
  await assertLoggedOut(phone);
  await assertLoggedOut(laptop);
  const back = await phone.app.logIn(credentials);
  assert.equal(back.id, phone.user.id);
  assert.equal(back.state, UserState.Active);
});

test("given a logout everywhere when realm-web logs out too then that is fine", async () => {
  const { laptop } = await openTwoDevices();
  await call("DELETE", "/session?everywhere=true", laptop.user);

  await laptop.user.logOut();
  await laptop.app.removeUser(laptop.user);

  assert.equal(laptop.lines().at(-1), "DELETE /auth/session 401");
  assert.equal(laptop.user.state, UserState.Removed);
});

test("given two devices when one ends the other then only that user is out", async () => {
  const { laptop, phone } = await openTwoDevices();
  const sessions = await call("GET", "/sessions", laptop.user);
  const [ended] = sessions.filter((session) => !session.current);

  await call("DELETE", `/sessions/${ended.id}`, laptop.user);

  assert.equal(sessions.length, 2);
  assert.equal(ended.device.info.sdkVersion, "2.0.1");
  await assertLoggedOut(phone);
  await laptop.user.refreshCustomData();
  assert.equal(laptop.user.state, UserState.Active);
  assert.equal((await call("GET", "/sessions", laptop.user)).length, 1);
});

test("given a guest when it logs out everywhere then it is gone", async () => {
  const { app, calls, lines } = openApp();
  const user = await app.logIn(Credentials.anonymous());

  await call("DELETE", "/session?everywhere=true", user);

  await assertLoggedOut({ app, calls, lines, user });
  const next = await app.logIn(Credentials.anonymous(false));
  assert.notEqual(next.id, user.id);
});
