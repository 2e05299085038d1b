// A login that brings a guest along, by an unmodified realm-web of both generations.
import assert from "node:assert/strict";
import { test } from "node:test";

import * as newWeb from "realm-web";
import * as oldWebModule from "realm-web-1";

import {
  PASSWORD,
  aRegisteredAddress,
  allEvents,
  anAddress,
  byToken,
  claimsOf,
  cutting,
  openApp,
  profileStatus,
} from "./support.mjs";

const oldWeb = oldWebModule.default ?? oldWebModule;

/** The package, and how it makes a credential from a payload. */
const SDKS = {
  "realm-web 2.0.1": {
    sdk: newWeb,
    credentials: (provider, payload) =>
      new newWeb.Credentials(provider, provider, false, payload),
  },
  "realm-web 1.7.1": {
    sdk: oldWeb,
    credentials: (provider, payload) =>
      new oldWeb.Credentials(provider, provider, payload),
  },
};

/** How to make the payload of an identity that has no user yet. */
const PROVIDERS = {
  "local-userpass": async (app) => ({
    username: await aRegisteredAddress(app),
    password: PASSWORD,
  }),
  "custom-token": async () => byToken(anAddress()).payload,
};

/** An app with a guest; `merged` collects what the answers to its logins say. */
async function openGuest({ AppClass, Credentials }, net = fetch) {
  const merged = [];
  const listening = async (url, init) => {
    const answer = await net(url, init);
    if (url.endsWith("/login")) merged.push((await answer.clone().json()).merged);
    return answer;
  };
  const opened = openApp({ AppClass, net: listening });
  const guest = await opened.app.logIn(Credentials.anonymous());
  merged.length = 0;
  return { ...opened, guest, merged, sent: guest.refreshToken, id: guest.id };
}

/**
 * The type and user of each event after the first `seen`, and whom a guest was merged
 * into. Logins are left out, because each repetition is one.
 */
async function eventsAfter(seen) {
  return (await allEvents())
    .slice(seen)
    .map(({ "detail-type": type, detail: { uid, into = null } }) => [type, uid, into])
    .filter(([type]) => type !== "user.logged_in");
}

const providersOf = (user) => user.identities.map((one) => one.providerType);

for (const [name, { sdk, credentials }] of Object.entries(SDKS)) {
  const { App: AppClass, Credentials, UserState } = sdk;
  const open = (net) => openGuest({ AppClass, Credentials }, net);
  const logInElsewhere = (by) => openApp({ AppClass }).app.logIn(by);

  for (const [provider, make] of Object.entries(PROVIDERS)) {
    test(`given ${name} when a ${provider} identity is taken then merged`, async () => {
      const { app, guest, id, lines, merged, sent } = await open();
      const payload = await make(app);
      const owner = await logInElsewhere(credentials(provider, payload));
      const withGuest = credentials(provider, { ...payload, merge: sent });
      const seen = (await allEvents()).length;

      const user = await app.logIn(withGuest);
      const status = await profileStatus(guest.accessToken);
      await app.removeUser(guest);
      const again = await app.logIn(withGuest);

      assert.equal(user.id, owner.id);
      assert.equal(again, user);
      assert.deepEqual(merged, [true, true]);
      assert.deepEqual(claimsOf(user.accessToken).former_ids, [id]);
      assert.equal(status, 401);
      assert.ok(lines().includes("DELETE /auth/session 401"));
      assert.equal(guest.state, UserState.Removed);
      assert.deepEqual(Object.keys(app.allUsers), [user.id]);
      assert.deepEqual(await eventsAfter(seen), [["user.merged", id, owner.id]]);
    });

    test(`given ${name} when a ${provider} identity is free then linked`, async () => {
      const { app, guest, id, merged, sent } = await open();
      const payload = await make(app);
      const withGuest = credentials(provider, { ...payload, merge: sent });
      const seen = (await allEvents()).length;

      const user = await app.logIn(withGuest);
      const kept = user.refreshToken;
      const again = await app.logIn(withGuest);

      assert.equal(user, guest);
      assert.equal(again, guest);
      assert.equal(user.id, id);
      assert.equal(kept, sent);
      assert.deepEqual(merged, [false, false]);
      assert.deepEqual(providersOf(user), ["anon-user", provider]);
      assert.equal(claimsOf(user.accessToken).anonymous, false);
      assert.deepEqual(await eventsAfter(seen), [["user.linked", id, null]]);
      // The guest is the user now: to remove it is a logout, and the user stays.
      await app.removeUser(guest);
      assert.equal((await app.logIn(credentials(provider, payload))).id, id);
    });
  }

  test(`given ${name} when merged then the user goes on as any other`, async () => {
    const { app, guest, sent } = await open();
    const payload = byToken(anAddress()).payload;
    const owner = await logInElsewhere(credentials("custom-token", payload));
    const user = await app.logIn(
      credentials("custom-token", { ...payload, merge: sent }),
    );
    await app.removeUser(guest);

    await user.refreshAccessToken();
    await user.refreshCustomData();
    await user.refreshProfile();
    const further = await PROVIDERS["local-userpass"](app);
    await user.linkCredentials(credentials("local-userpass", further));

    assert.equal(user.id, owner.id);
    assert.deepEqual(providersOf(user), ["custom-token", "local-userpass"]);
    assert.deepEqual(claimsOf(user.accessToken).former_ids, [guest.id]);
    await user.logOut();
    assert.equal(user.state, UserState.LoggedOut);
    const next = await app.logIn(Credentials.anonymous());
    assert.ok(![guest.id, user.id].includes(next.id));
    assert.deepEqual(providersOf(next), ["anon-user"]);
    const back = await app.logIn(credentials("local-userpass", further));
    assert.equal(back.id, owner.id);
  });

  test(`given ${name} when a link has merge then it is ignored`, async () => {
    const { app, guest, id } = await open();
    const other = await open();
    const payload = { ...byToken(anAddress()).payload, merge: other.sent };
    const seen = (await allEvents()).length;

    await guest.linkCredentials(credentials("custom-token", payload));
    await guest.linkCredentials(credentials("custom-token", payload));

    assert.equal(guest.id, id);
    assert.equal(app.currentUser, guest);
    assert.deepEqual(providersOf(guest), ["anon-user", "custom-token"]);
    assert.equal(claimsOf(guest.accessToken).former_ids, undefined);
    await other.guest.refreshAccessToken();
    assert.deepEqual(await eventsAfter(seen), [["user.linked", id, null]]);
  });

  test(`given ${name} when a merge is cut and repeated then it is one`, async (t) => {
    const { app, guest, id, merged, sent } = await open(
      await cutting(t, 2, "custom-token"),
    );
    const payload = byToken(anAddress()).payload;
    const owner = await logInElsewhere(credentials("custom-token", payload));
    const withGuest = credentials("custom-token", { ...payload, merge: sent });
    const seen = (await allEvents()).length;

    await assert.rejects(app.logIn(withGuest));
    const afterTheCut = await eventsAfter(seen);
    await assert.rejects(app.logIn(withGuest));
    const user = await app.logIn(withGuest);
    await app.removeUser(guest);

    assert.deepEqual(afterTheCut, [["user.merged", id, owner.id]]);
    assert.equal(user.id, owner.id);
    assert.deepEqual(merged, [true]);
    assert.deepEqual(await eventsAfter(seen), afterTheCut);
  });

  test(`given ${name} when a link by merge is cut and repeated then one`, async (t) => {
    const { app, guest, id, merged, sent } = await open(
      await cutting(t, 2, "custom-token"),
    );
    const payload = { ...byToken(anAddress()).payload, merge: sent };
    const seen = (await allEvents()).length;

    await assert.rejects(app.logIn(credentials("custom-token", payload)));
    const afterTheCut = await eventsAfter(seen);
    await assert.rejects(app.logIn(credentials("custom-token", payload)));
    const user = await app.logIn(credentials("custom-token", payload));

    assert.deepEqual(afterTheCut, [["user.linked", id, null]]);
    assert.equal(user, guest);
    assert.equal(user.id, id);
    assert.deepEqual(merged, [false]);
    assert.deepEqual(await eventsAfter(seen), afterTheCut);
  });
}
