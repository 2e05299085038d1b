// Anonymous logins with a login key, by an unmodified realm-web.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";

import { Credentials } from "realm-web";

import { allEvents, byToken, claimsOf, cutting, openApp } from "./support.mjs";

const aKey = () => randomBytes(32).toString("base64url");

const byKey = (login_key) =>
  new Credentials("anon-user", "anon-user", false, { login_key });

test("given one key when 64 log in at once then one user is created", async () => {
  const key = aKey();

  const apps = Array.from({ length: 64 }, () => openApp().app);
  const users = await Promise.all(apps.map((app) => app.logIn(byKey(key))));

  assert.equal(new Set(users.map((user) => user.id)).size, 1);
  assert.equal(new Set(users.map((user) => claimsOf(user.accessToken).sid)).size, 1);
  await Promise.all(users.map((user) => user.refreshAccessToken()));
  const created = (await allEvents()).filter(
    (event) => event["detail-type"] === "user.created" && event.detail.uid === users[0].id,
  );
  assert.equal(created.length, 1);
});

test("given a cut connection when repeated then it is the same guest", async (t) => {
  const key = aKey();
  const net = await cutting(t, 2, "anon-user");
  const before = (await allEvents()).length;
  const { app } = openApp({ net });

  await assert.rejects(app.logIn(byKey(key)));
  await assert.rejects(app.logIn(byKey(key)));
  const user = await app.logIn(byKey(key));

  const told = (await allEvents()).slice(before);
  assert.deepEqual(
    told.map((event) => [event["detail-type"], event.detail.uid]),
    [["user.created", user.id]],
  );
});

test("given no key when a connection is cut then there are two guests", async (t) => {
  const net = await cutting(t, 1, "anon-user");
  const before = (await allEvents()).length;
  const { app } = openApp({ net });

  await assert.rejects(app.logIn(Credentials.anonymous(false)));
  await app.logIn(Credentials.anonymous(false));

  assert.equal((await allEvents()).length - before, 2);
});

test("given a linked guest when its key is repeated then it is that user", async () => {
  const key = aKey();
  const { app } = openApp();
  const user = await app.logIn(byKey(key));
  await user.linkCredentials(byToken(`sub-${user.id}`));

  const elsewhere = await openApp().app.logIn(byKey(key));

  assert.equal(elsewhere.id, user.id);
  assert.deepEqual(
    elsewhere.identities.map((identity) => identity.providerType),
    ["anon-user", "custom-token"],
  );
});

test("given a guest logged out when its key comes late then it is refused", async () => {
  const key = aKey();
  const { app } = openApp();
  const user = await app.logIn(byKey(key));
  await app.removeUser(user);

  await assert.rejects(app.logIn(byKey(key)), {
    statusCode: 409,
    errorCode: "LoginKeySpent",
  });
  const next = await app.logIn(byKey(aKey()));

  assert.notEqual(next.id, user.id);
});
