// A user whose tokens are refused, like those of App Services: how each SDK reacts, and
// how the app gets a new guest. For realm-web 2.0.1 see login.test.mjs.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as oldWebModule from "realm-web-1";
import stitch from "mongodb-stitch-server-sdk";
import stitchCore from "mongodb-stitch-core-sdk";

import { CoreApp, CoreCredentials } from "./core.mjs";
import { APP, BASE_URL, MapStorage } from "./support.mjs";

async function deleteUser(accessToken) {
  const headers = { Authorization: `Bearer ${accessToken}` };
  const url = `${BASE_URL}/api/client/v2.0/auth/delete`;
  const answer = await fetch(url, { method: "DELETE", headers });
  assert.equal(answer.status, 200);
}

test("given Core when its user is refused then it keeps it until a logout", async () => {
  const app = new CoreApp({ id: APP, baseUrl: BASE_URL });
  const user = await app.logIn(CoreCredentials.anonymous());
  await deleteUser(user.accessToken);

  await assert.rejects(user.refreshCustomData(), /failed to find refresh token/);
  const kept = await app.logIn(CoreCredentials.anonymous());
  await assert.rejects(user.logOut(), /failed to find refresh token/);
  const guest = await app.logIn(CoreCredentials.anonymous());

  assert.equal(kept.id, user.id);
  assert.notEqual(guest.id, user.id);
  await guest.refreshCustomData();
});

test("given realm-web 1.7.1 when its user is refused then a login is anew", async () => {
  const { App, Credentials, UserState } = oldWebModule.default ?? oldWebModule;
  const app = new App({ id: APP, baseUrl: BASE_URL, storage: new MapStorage() });
  const user = await app.logIn(Credentials.anonymous());
  await deleteUser(user.accessToken);

  await assert.rejects(user.refreshCustomData(), { statusCode: 401 });
  const guest = await app.logIn(Credentials.anonymous());

  assert.equal(user.state, UserState.LoggedOut);
  assert.notEqual(guest.id, user.id);
});

test("given Stitch 4.9.0 when its user is refused then a login is anew", async () => {
  const config = new stitch.StitchAppClientConfiguration.Builder()
    .withBaseUrl(BASE_URL)
    .withStorage(new stitchCore.MemoryStorage(APP))
    .build();
  const client = stitch.Stitch.initializeAppClient(APP, config);
  const user = await client.auth.loginWithCredential(new stitch.AnonymousCredential());
  await deleteUser(client.auth.authInfo.accessToken);

  await assert.rejects(user.linkWithCredential(new stitch.CustomCredential("a.b.c")));
  const isLoggedIn = client.auth.isLoggedIn;
  const guest = await client.auth.loginWithCredential(new stitch.AnonymousCredential());
  client.close();

  assert.equal(isLoggedIn, false);
  assert.notEqual(guest.id, user.id);
});
