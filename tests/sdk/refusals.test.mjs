// Each request is refused once: realm-web repeats some refused requests endlessly, and the
// SDKs drop their user after others (client-api.md §5, §7).
import assert from "node:assert/strict";
import { test } from "node:test";

import { Credentials, UserState } from "realm-web";

import {
  APP,
  OTHER_APP,
  aRegisteredAddress,
  anAddress,
  byPassword,
  byToken,
  claimsOf,
  linkLine,
  logInElsewhere,
  openApp,
  openGuest,
} from "./support.mjs";

const OTHER_SECRET = "fedcba9876543210fedcba9876543210";
const TAKEN = "a user already exists with the specified provider";
const unsupported = (provider) => `authentication via '${provider}' is unsupported`;

/** Give an identity to another user; return its credential. */
async function ofSomebodyElse(credentials) {
  await logInElsewhere(credentials);
  return credentials;
}

async function keyOfSomebodyElse() {
  const owner = await logInElsewhere(byToken(anAddress()));
  return Credentials.apiKey((await owner.apiKeys.create("theirs")).key);
}

// Status, code and text of the refused link, and of the login if that is refused, too.
const CREDENTIALS = [
  {
    name: "somebody else's e-mail address",
    make: async (app) => ofSomebodyElse(byPassword(await aRegisteredAddress(app))),
    linking: [409, "AccountNameInUse", TAKEN],
  },
  {
    name: "somebody else's JWT",
    make: () => ofSomebodyElse(byToken(anAddress())),
    linking: [409, "AccountNameInUse", TAKEN],
  },
  {
    name: "somebody else's API key",
    make: keyOfSomebodyElse,
    linking: [400, "InvalidParameter", "invalid user link request"],
  },
  {
    name: "a wrong password",
    make: async (app) => byPassword(await aRegisteredAddress(app), "wrong horse"),
    linking: [403, "InvalidPassword", "invalid username/password"],
    login: [401, "InvalidPassword", "unauthorized"],
  },
  {
    name: "an e-mail address that nobody has",
    make: () => byPassword(anAddress()),
    linking: [403, "InvalidPassword", "invalid username/password"],
    login: [401, "InvalidPassword", "unauthorized"],
  },
  {
    name: "an unconfirmed e-mail address",
    app: OTHER_APP,
    make: async (app) => byPassword(await aRegisteredAddress(app)),
    linking: [403, "AuthError", "confirmation required"],
    login: [401, "AuthError", "confirmation required"],
  },
  {
    name: "a forged JWT",
    make: () => byToken(anAddress(), { secret: OTHER_SECRET }),
    linking: [403, "AuthError", /^invalid custom auth token: /],
    login: [401, "AuthError", "unauthorized"],
  },
  {
    name: "a JWT of long ago",
    make: () => byToken(anAddress(), { exp: 1_700_000_000 }),
    linking: [403, "AuthError", /^invalid custom auth token: /],
    login: [401, "AuthError", "unauthorized"],
  },
  {
    name: "a JWT for another app",
    make: () => byToken(anAddress(), { aud: OTHER_APP }),
    linking: [403, "AuthError", /^invalid custom auth token: /],
    login: [401, "AuthError", "unauthorized"],
  },
  {
    name: "an API key that nobody has",
    make: () => Credentials.apiKey("x".repeat(43)),
    linking: [400, "InvalidParameter", "invalid user link request"],
    login: [401, "AuthError", "unauthorized"],
  },
  {
    name: "another anonymous identity",
    make: () => Credentials.anonymous(),
    linking: [
      400,
      "InternalServerError",
      "linking an anonymous identity is not allowed",
    ],
  },
  {
    name: "a provider that is off",
    make: () => Credentials.google({ idToken: "x.y.z" }),
    linking: [404, "AuthProviderNotFound", unsupported("oauth2-google")],
    login: [401, "InvalidSession", unsupported("oauth2-google")],
  },
  {
    name: "a provider that is on in another app only",
    app: OTHER_APP,
    make: () => byToken(anAddress(), { aud: OTHER_APP }),
    linking: [404, "AuthProviderNotFound", unsupported("custom-token")],
    login: [401, "InvalidSession", unsupported("custom-token")],
  },
  {
    name: "a function, which is not offered",
    make: () => Credentials.function({ any: "thing" }),
    linking: [404, "AuthProviderNotFound", unsupported("custom-function")],
    login: [401, "InvalidSession", unsupported("custom-function")],
  },
];

/** Check that the user is still a guest with its old session. */
async function assertAlive({ app, user, refreshToken }) {
  await user.refreshProfile();
  assert.deepEqual(
    user.identities.map((one) => one.providerType),
    ["anon-user"],
  );
  assert.equal(user.refreshToken, refreshToken);
  await user.refreshCustomData();
  assert.equal(claimsOf(user.accessToken).anonymous, true);
  assert.equal(user.state, UserState.Active);
  assert.equal(app.currentUser, user);
}

const refusal = ([statusCode, errorCode, error]) => ({ statusCode, errorCode, error });

for (const { name, app: id = APP, make, linking } of CREDENTIALS) {
  test(`given ${name} when linked then one refusal and the guest lives on`, async () => {
    const credentials = await make(openApp({ id }).app);
    const { app, user, since } = await openGuest({ id });
    const { refreshToken } = user;

    await assert.rejects(user.linkCredentials(credentials), refusal(linking));

    assert.deepEqual(since(), [linkLine(credentials.providerName, linking[0], id)]);
    await assertAlive({ app, user, refreshToken });
  });
}

for (const { name, app: id = APP, make, login } of CREDENTIALS) {
  if (!login) continue;
  test(`given ${name} when logged in by then one refusal and no new user`, async () => {
    const credentials = await make(openApp({ id }).app);
    const { app, user, since } = await openGuest({ id });
    const { refreshToken } = user;

    await assert.rejects(app.logIn(credentials), refusal(login));

    const path = `/app/${id}/auth/providers/${credentials.providerName}/login`;
    assert.deepEqual(since(), [`POST ${path} ${login[0]}`]);
    assert.equal(Object.keys(app.allUsers).length, 1);
    await assertAlive({ app, user, refreshToken });
  });
}

test("given a refused link when the right one follows then it is linked", async () => {
  const { app, user, lines } = await openGuest();
  const email = await aRegisteredAddress(app);
  await assert.rejects(user.linkCredentials(byPassword(email, "wrong horse")));

  await user.linkCredentials(byPassword(email));

  assert.equal((await logInElsewhere(byPassword(email))).id, user.id);
  assert.ok(lines().every((line) => !line.includes("/auth/session")));
});

test("given a conflict when the guest logs in by it then it is the owner", async () => {
  const credentials = byToken(anAddress());
  const owner = await logInElsewhere(credentials);
  const { app, user } = await openGuest();
  await assert.rejects(user.linkCredentials(credentials), { statusCode: 409 });

  const switched = await app.logIn(credentials);

  assert.equal(switched.id, owner.id);
  assert.equal(app.currentUser, switched);
  await user.refreshCustomData();
  assert.equal(Object.keys(app.allUsers).length, 2);
});

test("given a guest when it calls a function then its code says there is none", async () => {
  const { app, user, since } = await openGuest();

  await assert.rejects(user.functions.sum(1, 2), (error) => {
    assert.equal(error.statusCode, 404);
    assert.equal(error.errorCode, "FunctionNotFound");
    return true;
  });

  assert.deepEqual(since(), [`POST /app/${APP}/functions/call 404`]);
  assert.equal(user.state, UserState.Active);
  assert.equal(app.currentUser, user);
});
