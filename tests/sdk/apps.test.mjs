// Two apps on one service: the tokens of one do not work for the other.
import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { test } from "node:test";

import { Credentials, UserState } from "realm-web";

import {
  APP,
  BASE_URL,
  MapStorage,
  OTHER_APP,
  claimsOf,
  openApp,
  profileStatus,
  storageWithUser,
} from "./support.mjs";

const issuerOf = (app) => `${BASE_URL}/api/client/v2.0/app/${app}`;

/** Tell whether an API of `app` that verifies access tokens accepts this token. */
async function isAccepted(token, app) {
  const answer = await fetch(`${issuerOf(app)}/.well-known/jwks.json`);
  const { keys } = await answer.json();
  const [header, payload, signature] = token.split(".");
  const { kid } = JSON.parse(Buffer.from(header, "base64url"));
  const jwk = keys.find((key) => key.kid === kid);
  assert.ok(jwk);
  const isSigned = verify(
    "sha256",
    Buffer.from(`${header}.${payload}`),
    createPublicKey({ key: jwk, format: "jwk" }),
    Buffer.from(signature, "base64url"),
  );
  const { aud, iss } = claimsOf(token);
  return isSigned && aud === app && iss === issuerOf(app);
}

async function guestOf(id) {
  const opened = openApp({ id });
  return { ...opened, user: await opened.app.logIn(Credentials.anonymous()) };
}

test("given guests of two apps when verified then each counts in its own", async () => {
  const ours = await guestOf(APP);
  const theirs = await guestOf(OTHER_APP);

  assert.notEqual(ours.user.id, theirs.user.id);
  assert.equal(await isAccepted(ours.user.accessToken, APP), true);
  assert.equal(await isAccepted(ours.user.accessToken, OTHER_APP), false);
  assert.equal(await isAccepted(theirs.user.accessToken, OTHER_APP), true);
  assert.equal(await isAccepted(theirs.user.accessToken, APP), false);
});

test("given tokens of one app when put into another then it gains no user", async () => {
  const ours = await guestOf(APP);
  const theirs = await guestOf(OTHER_APP);
  // The other app's storage, as if an attacker had put our tokens into it.
  const { app } = openApp({
    id: OTHER_APP,
    storage: storageWithUser({
      app: OTHER_APP,
      id: theirs.user.id,
      accessToken: ours.user.accessToken,
      refreshToken: ours.user.refreshToken,
    }),
  });
  const confused = app.currentUser;

  await confused.refreshProfile();
  assert.equal(confused.identities[0].id, ours.user.identities[0].id);
  await confused.refreshCustomData();

  assert.equal(claimsOf(confused.accessToken).sub, ours.user.id);
  assert.equal(claimsOf(confused.accessToken).aud, APP);
  assert.equal(await isAccepted(confused.accessToken, OTHER_APP), false);
  await confused.logOut();
  assert.equal(await profileStatus(ours.user.accessToken), 401);
  await theirs.user.refreshProfile();
  assert.equal(theirs.user.state, UserState.Active);
});

test("given one storage when two apps share it then their guests stay apart", async () => {
  const storage = new MapStorage();
  const ours = openApp({ id: APP, storage });
  const theirs = openApp({ id: OTHER_APP, storage });
  const first = await ours.app.logIn(Credentials.anonymous());
  const second = await theirs.app.logIn(Credentials.anonymous());

  await ours.app.removeUser(first);

  assert.notEqual(second.id, first.id);
  await second.refreshProfile();
  assert.equal(openApp({ id: OTHER_APP, storage }).app.currentUser.id, second.id);
  assert.equal(openApp({ id: APP, storage }).app.currentUser, null);
});
