// A guest becomes permanent, and keeps its id, its session and its data.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Credentials, UserState } from "realm-web";

import {
  aRegisteredAddress,
  anAddress,
  byPassword,
  byToken,
  claimsOf,
  linkLine,
  logInElsewhere,
  openApp,
  openGuest,
  PASSWORD,
  profileStatus,
} from "./support.mjs";

const PROFILE = "GET /auth/profile 200";
const REFRESH = "POST /auth/session 200";

const providersOf = (user) => user.identities.map((one) => one.providerType);

// Each provider: how to make a credential, and the identity that the profile then shows.
const PROVIDERS = {
  "local-userpass": async (app) => {
    const email = await aRegisteredAddress(app);
    return { credentials: byPassword(email), data: { email } };
  },
  "custom-token": async () => ({
    credentials: byToken(anAddress(), { nick: "Ada" }),
    data: { name: "Ada" },
  }),
};

for (const [provider, make] of Object.entries(PROVIDERS)) {
  test(`given a guest when linked by ${provider} then it is the same user`, async () => {
    const { app, user, calls, lines } = await openGuest();
    const { id, refreshToken } = user;
    const [anonymous] = user.identities;
    const { credentials, data } = await make(app);
    const before = calls.length;

    await user.linkCredentials(credentials);

    assert.deepEqual(lines().slice(before), [linkLine(provider, 200), PROFILE]);
    assert.equal(user.id, id);
    assert.equal(app.currentUser, user);
    assert.equal(user.refreshToken, refreshToken);
    assert.equal(claimsOf(user.accessToken).anonymous, false);
    assert.deepEqual(user.identities[0], anonymous);
    assert.deepEqual(providersOf(user), ["anon-user", provider]);
    assert.deepEqual({ ...user.profile }, data);
  });

  test(`given a link by ${provider} when it is used on then the session lives`, async () => {
    const { app, user, storage } = await openGuest();
    const { credentials } = await make(app);
    await user.linkCredentials(credentials);

    assert.deepEqual(await user.refreshCustomData(), {});
    await user.refreshAccessToken();

    assert.equal(claimsOf(user.accessToken).anonymous, false);
    assert.equal(claimsOf(user.accessToken).sub, user.id);
    const restarted = openApp({ storage });
    await restarted.app.currentUser.refreshProfile();
    assert.equal(restarted.app.currentUser.id, user.id);
    assert.deepEqual(restarted.lines().slice(1), [PROFILE]);
  });

  test(`given a link by ${provider} when logged in elsewhere then the same id`, async () => {
    const { app, user } = await openGuest();
    const { credentials, data } = await make(app);
    await user.linkCredentials(credentials);

    const elsewhere = await logInElsewhere(credentials);

    assert.equal(elsewhere.id, user.id);
    assert.notEqual(elsewhere.refreshToken, user.refreshToken);
    assert.deepEqual(providersOf(elsewhere), ["anon-user", provider]);
    assert.deepEqual({ ...elsewhere.profile }, data);
    assert.equal(claimsOf(elsewhere.accessToken).provider, provider);
    await user.refreshCustomData();
  });

  test(`given a link by ${provider} when logged out then it comes back`, async () => {
    const { app, user } = await openGuest();
    const { credentials } = await make(app);
    await user.linkCredentials(credentials);
    const elsewhere = await logInElsewhere(credentials);
    const { id, accessToken } = user;

    await user.logOut();

    assert.equal(user.state, UserState.LoggedOut);
    assert.equal(await profileStatus(accessToken), 401);
    await elsewhere.refreshCustomData();
    const again = await app.logIn(credentials);
    assert.equal(again.id, id);
    assert.equal(again.state, UserState.Active);
  });

  test(`given a link by ${provider} when repeated then nothing changes`, async () => {
    const { app, user } = await openGuest();
    const { credentials } = await make(app);
    await user.linkCredentials(credentials);
    const identities = [...user.identities];

    await user.linkCredentials(credentials);

    assert.deepEqual(user.identities, identities);
  });

  test(`given no user of a ${provider} identity when it logs in then it gets one`, async () => {
    const { app, calls, lines } = openApp();
    const { credentials, data } = await make(app);
    const before = calls.length;

    const user = await app.logIn(credentials);

    assert.deepEqual(lines().slice(before).slice(-1), [PROFILE]);
    assert.match(user.id, /^[0-9a-f]{24}$/);
    assert.deepEqual(providersOf(user), [provider]);
    assert.deepEqual({ ...user.profile }, data);
    assert.equal((await logInElsewhere(credentials)).id, user.id);
  });
}

test("given several identities when linked then listed in that order", async () => {
  const { app, user } = await openGuest();
  const email = await aRegisteredAddress(app);
  const [first, second] = [anAddress(), anAddress()];

  await user.linkCredentials(byToken(first, { nick: "First" }));
  await user.linkCredentials(byPassword(email));
  await user.linkCredentials(byToken(second, { nick: "Second" }));

  assert.deepEqual(providersOf(user), [
    "anon-user",
    "custom-token",
    "local-userpass",
    "custom-token",
  ]);
  assert.equal(user.identities[1].id, first);
  assert.equal(user.identities[3].id, second);
  assert.deepEqual({ ...user.profile }, { name: "First", email });
  for (const credentials of [byToken(first), byPassword(email), byToken(second)]) {
    assert.equal((await logInElsewhere(credentials)).id, user.id);
  }
});

test("given a bad access token when linking then one refresh fixes it", async () => {
  const { app, user, lines } = await openGuest();
  const email = await aRegisteredAddress(app);
  user.accessToken = `${user.accessToken.slice(0, -8)}AAAAAAAA`;

  await user.linkCredentials(byPassword(email));

  assert.deepEqual(lines().slice(-4), [
    linkLine("local-userpass", 401),
    REFRESH,
    linkLine("local-userpass", 200),
    PROFILE,
  ]);
  assert.equal((await logInElsewhere(byPassword(email))).id, user.id);
});

test("given a linked address when a second is linked then one refusal", async () => {
  const { app, user, calls, lines } = await openGuest();
  const email = await aRegisteredAddress(app);
  const second = await aRegisteredAddress(app);
  await user.linkCredentials(byPassword(email));
  const before = calls.length;

  await assert.rejects(user.linkCredentials(byPassword(second)), {
    statusCode: 400,
    errorCode: "InternalServerError",
    error:
      "linking a local-userpass identity is not allowed when one is already linked",
  });

  assert.deepEqual(lines().slice(before), [linkLine("local-userpass", 400)]);
  await user.refreshProfile();
  assert.deepEqual({ ...user.profile }, { email });
  const other = await logInElsewhere(byPassword(second));
  assert.notEqual(other.id, user.id);
});

test("given a linked user when it logs in anonymously then the SDK keeps it", async () => {
  const { app, user } = await openGuest();
  await user.linkCredentials(byToken(anAddress()));

  const same = await app.logIn(Credentials.anonymous());
  const guest = await app.logIn(Credentials.anonymous(false));

  // realm-web still takes the user for anonymous, and only asks for its profile.
  assert.equal(same, user);
  assert.notEqual(guest.id, user.id);
  assert.deepEqual(providersOf(guest), ["anon-user"]);
});

test("given a linked user when it is deleted then its address is free", async () => {
  const { app, user } = await openGuest();
  const email = await aRegisteredAddress(app);
  await user.linkCredentials(byPassword(email));
  const elsewhere = await logInElsewhere(byPassword(email));
  const { id, accessToken } = user;

  await app.deleteUser(user);

  assert.equal(app.currentUser, null);
  assert.equal(await profileStatus(accessToken), 401);
  await assert.rejects(elsewhere.refreshCustomData(), { statusCode: 401 });
  await assert.rejects(app.logIn(byPassword(email)), {
    statusCode: 401,
    errorCode: "InvalidPassword",
  });
  await app.emailPasswordAuth.registerUser({ email, password: PASSWORD });
  assert.notEqual((await app.logIn(byPassword(email))).id, id);
});
