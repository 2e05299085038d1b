import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import { Credentials, UserState } from "realm-web";

import {
  APP,
  MapStorage,
  claimsOf,
  openApp,
  profileStatus,
  storageWithUser,
} from "./support.mjs";

const LOGIN = `POST /app/${APP}/auth/providers/anon-user/login 200`;
const LOCATION = `GET /app/${APP}/location 200`;
const PROFILE = "GET /auth/profile 200";

test("given a new app when it logs in anonymously then it has a guest", async () => {
  const { app, lines } = openApp();

  const user = await app.logIn(Credentials.anonymous());

  assert.match(user.id, /^[0-9a-f]{24}$/);
  assert.equal(user.state, UserState.Active);
  assert.equal(app.currentUser, user);
  assert.deepEqual(user.profile, {});
  assert.equal(user.identities.length, 1);
  assert.equal(user.identities[0].providerType, "anon-user");
  assert.notEqual(user.identities[0].id, user.id);
  assert.equal(claimsOf(user.accessToken).sub, user.id);
  assert.deepEqual(user.customData, {});
  assert.deepEqual(lines(), [LOCATION, LOGIN, PROFILE]);
});

test("given a guest when it logs in again then it is the same user", async () => {
  const { app, lines } = openApp();
  const first = await app.logIn(Credentials.anonymous());

  const second = await app.logIn(Credentials.anonymous());

  assert.equal(second, first);
  assert.deepEqual(lines(), [LOCATION, LOGIN, PROFILE, PROFILE]);
});

test("given a guest when the app is restarted then it is the same user", async () => {
  const { app, storage } = openApp();
  const before = await app.logIn(Credentials.anonymous());

  const restarted = openApp({ storage });
  const after = await restarted.app.logIn(Credentials.anonymous());

  assert.equal(after.id, before.id);
  assert.deepEqual(restarted.lines(), [LOCATION, PROFILE]);
});

test("given a guest when it asks not to be reused then there are two", async () => {
  const { app } = openApp();
  const first = await app.logIn(Credentials.anonymous());

  const second = await app.logIn(Credentials.anonymous(false));

  assert.notEqual(second.id, first.id);
  assert.equal(Object.keys(app.allUsers).length, 2);
  await first.refreshProfile();
  await second.refreshProfile();
});

test("given a guest when it logs out then the user is gone", async () => {
  const { app, lines } = openApp();
  const user = await app.logIn(Credentials.anonymous());
  const { accessToken } = user;

  await user.logOut();

  assert.equal(user.state, UserState.LoggedOut);
  assert.equal(await profileStatus(accessToken), 401);
  assert.equal(lines().at(-1), "DELETE /auth/session 200");
});

test("given a guest when it logs out twice then that is fine", async () => {
  const { app } = openApp();
  const user = await app.logIn(Credentials.anonymous());

  await user.logOut();
  await user.logOut();
  await app.removeUser(user);

  assert.equal(user.state, UserState.Removed);
  assert.equal(app.currentUser, null);
});

test("given a session ended elsewhere when logging out then that is fine", async () => {
  const here = openApp();
  const user = await here.app.logIn(Credentials.anonymous());
  const there = openApp({ storage: here.storage });
  await there.app.currentUser.logOut();

  await user.logOut();

  assert.equal(here.lines().at(-1), "DELETE /auth/session 401");
  assert.equal(user.state, UserState.LoggedOut);
});

test("given a guest logged out when it logs in then only as a new one", async () => {
  const { app } = openApp();
  const user = await app.logIn(Credentials.anonymous());
  await user.logOut();

  // The SDK reuses the logged-out user, with the header `Bearer null`.
  await assert.rejects(app.logIn(Credentials.anonymous()), { statusCode: 401 });
  const fresh = await app.logIn(Credentials.anonymous(false));

  assert.notEqual(fresh.id, user.id);
});

test("given a guest when it is removed then the next login is a new one", async () => {
  const { app, lines } = openApp();
  const user = await app.logIn(Credentials.anonymous());

  await app.removeUser(user);
  const next = await app.logIn(Credentials.anonymous());

  assert.notEqual(next.id, user.id);
  assert.equal(lines().filter((line) => line === LOGIN).length, 2);
});

test("given a guest when it is deleted then every token is refused", async () => {
  const { app, lines } = openApp();
  const user = await app.logIn(Credentials.anonymous());
  const { accessToken } = user;

  await app.deleteUser(user);

  assert.equal(app.currentUser, null);
  assert.equal(await profileStatus(accessToken), 401);
  assert.deepEqual(lines().slice(-2), [
    "DELETE /auth/delete 200",
    "DELETE /auth/session 401",
  ]);
});

test("given a device id when it is sent then it comes back", async () => {
  const deviceId = "0123456789abcdef01234567";
  const storage = new MapStorage({ [`app(${APP}):deviceId`]: deviceId });
  const { app, calls } = openApp({ storage });

  const first = await app.logIn(Credentials.anonymous());
  const second = await app.logIn(Credentials.anonymous(false));

  assert.equal(first.deviceId, deviceId);
  assert.equal(second.deviceId, deviceId);
  const sent = calls
    .filter((call) => call.line === LOGIN)
    .map((call) => call.body.options.device.deviceId);
  assert.deepEqual(sent, [{ $oid: deviceId }, { $oid: deviceId }]);
});

test("given no device id when logging in twice then the first one is kept", async () => {
  const { app, calls, storage } = openApp();

  const first = await app.logIn(Credentials.anonymous());
  await first.refreshAccessToken();
  const second = await app.logIn(Credentials.anonymous(false));

  assert.match(first.deviceId, /^[0-9a-f]{24}$/);
  assert.notEqual(first.deviceId, "0".repeat(24));
  assert.equal(claimsOf(first.refreshToken).baas_device_id, first.deviceId);
  assert.equal(second.deviceId, first.deviceId);
  assert.equal(storage.get(`app(${APP}):deviceId`), first.deviceId);
  const sent = calls
    .filter((call) => call.line === LOGIN)
    .map((call) => call.body.options.device.deviceId);
  assert.deepEqual(sent, [undefined, { $oid: first.deviceId }]);
});

// Tokens as the old service signed them: HS256, with a key that is not known here.
function oldToken(claims) {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const body = { exp: now + 10 ** 9, iat: now - 10 ** 7, ...claims };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(body)}`;
  return `${signed}.${createHmac("sha256", "theirs").update(signed).digest("base64url")}`;
}

function openAppOfOldUser(id) {
  return openApp({
    storage: storageWithUser({
      app: APP,
      id,
      accessToken: oldToken({ sub: id, typ: "access" }),
      refreshToken: oldToken({ sub: id, typ: "refresh", baas_id: "6350" }),
    }),
  });
}

test("given a user of App Services when removed at once then that is fine", async () => {
  const { app, lines } = openAppOfOldUser("63505ef7e0ccf8a5bb2a9d5a");

  await app.removeUser(app.currentUser);

  assert.equal(app.currentUser, null);
  assert.deepEqual(lines(), [LOCATION, "DELETE /auth/session 401"]);
});

test("given a user of App Services when refused then it starts anew", async () => {
  const id = "63505ef7e0ccf8a5bb2a9d5a";
  const { app, lines } = openAppOfOldUser(id);
  const old = app.currentUser;
  assert.equal(old.state, UserState.Active);

  await assert.rejects(app.logIn(Credentials.anonymous()), { statusCode: 401 });

  assert.equal(old.state, UserState.LoggedOut);
  assert.deepEqual(lines(), [
    LOCATION,
    "GET /auth/profile 401",
    "POST /auth/session 401",
  ]);
  await app.removeUser(old);
  const guest = await app.logIn(Credentials.anonymous());
  assert.notEqual(guest.id, id);
});
