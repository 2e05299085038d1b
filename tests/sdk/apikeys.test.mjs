// API keys: a permanent user creates them for its own programs.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Credentials, UserState } from "realm-web";

import {
  aRegisteredAddress,
  anAddress,
  byPassword,
  byToken,
  claimsOf,
  logInElsewhere,
  openApp,
  openGuest,
} from "./support.mjs";

const REFUSED = { statusCode: 401, errorCode: "AuthError", error: "unauthorized" };
const UNKNOWN = {
  statusCode: 404,
  errorCode: "APIKeyNotFound",
  error: "API key not found",
};

const byKey = ({ key }) => Credentials.apiKey(key);
const shown = ({ _id, name, disabled }) => ({ _id, name, disabled });

async function openLinked() {
  const opened = await openGuest();
  await opened.user.linkCredentials(byToken(anAddress(), { nick: "Ada" }));
  return opened;
}

test("given a key when fetched then only its making has shown it", async () => {
  const { user } = await openLinked();

  const laptop = await user.apiKeys.create("laptop");
  const phone = await user.apiKeys.create("phone_2-a");

  assert.match(laptop._id, /^[0-9a-f]{24}$/);
  assert.match(laptop.key, /^[\w-]{43}$/);
  assert.equal(laptop.name, "laptop");
  assert.equal(laptop.disabled, false);
  assert.deepEqual(await user.apiKeys.fetch(laptop._id), shown(laptop));
  assert.deepEqual(await user.apiKeys.fetchAll(), [shown(laptop), shown(phone)]);
});

test("given a key when a program logs in by it then it is its user", async () => {
  const { user } = await openLinked();
  const made = await user.apiKeys.create("ci");

  const program = await logInElsewhere(byKey(made));

  assert.equal(program.id, user.id);
  assert.equal(program.toJSON().profile.type, "server");
  assert.deepEqual(program.identities.at(-1), {
    id: made._id,
    providerType: "api-key",
  });
  assert.equal(program.profile.name, "Ada");
  assert.equal(claimsOf(program.accessToken).provider, "api-key");
  await program.refreshCustomData();
  await user.refreshProfile();
  assert.equal(user.toJSON().profile.type, "normal");
  assert.deepEqual(
    user.identities.map((one) => one.providerType),
    ["anon-user", "custom-token"],
  );
});

test("given a disabled key when used then refused until it is enabled", async () => {
  const { user } = await openLinked();
  const made = await user.apiKeys.create("ci");
  const program = await logInElsewhere(byKey(made));

  await user.apiKeys.disable(made._id);
  await user.apiKeys.disable(made._id);

  assert.equal((await user.apiKeys.fetch(made._id)).disabled, true);
  await assert.rejects(logInElsewhere(byKey(made)), REFUSED);
  await assert.rejects(program.refreshCustomData(), { statusCode: 401 });
  await user.apiKeys.enable(made._id);
  await user.apiKeys.enable(made._id);
  assert.equal((await user.apiKeys.fetch(made._id)).disabled, false);
  assert.equal((await logInElsewhere(byKey(made))).id, user.id);
});

test("given a deleted key when used then refused", async () => {
  const { user } = await openLinked();
  const made = await user.apiKeys.create("ci");
  const program = await logInElsewhere(byKey(made));

  await user.apiKeys.delete(made._id);

  await assert.rejects(logInElsewhere(byKey(made)), REFUSED);
  await assert.rejects(program.refreshCustomData(), { statusCode: 401 });
  await assert.rejects(user.apiKeys.fetch(made._id), UNKNOWN);
  await assert.rejects(user.apiKeys.enable(made._id), UNKNOWN);
  await assert.rejects(user.apiKeys.disable(made._id), UNKNOWN);
  await assert.rejects(user.apiKeys.delete(made._id), UNKNOWN);
  assert.deepEqual(await user.apiKeys.fetchAll(), []);
  await user.refreshCustomData();
});

test("given a program when it would change its user then refused", async () => {
  const { user } = await openLinked();
  const made = await user.apiKeys.create("ci");
  const other = await user.apiKeys.create("other");
  await user.apiKeys.disable(other._id);
  const { app } = openApp();
  const program = await app.logIn(byKey(made));

  for (const act of [
    () => program.apiKeys.create("another"),
    () => program.apiKeys.enable(other._id),
    () => program.apiKeys.disable(made._id),
    () => program.apiKeys.delete(made._id),
    () => program.apiKeys.delete(other._id),
    () => program.linkCredentials(byToken(anAddress())),
    () => app.deleteUser(program),
  ]) {
    await assert.rejects(act, { statusCode: 403, errorCode: "AuthError" });
  }

  const keys = await program.apiKeys.fetchAll();
  assert.deepEqual(keys, [shown(made), { ...shown(other), disabled: true }]);
  assert.equal(program.state, UserState.Active);
  await program.refreshProfile();
  await program.refreshCustomData();
});

test("given somebody else's key when fetched or changed then unknown", async () => {
  const { user } = await openLinked();
  const made = await user.apiKeys.create("ci");
  const stranger = await logInElsewhere(byToken(anAddress()));

  for (const act of ["fetch", "enable", "disable", "delete"]) {
    await assert.rejects(stranger.apiKeys[act](made._id), UNKNOWN);
  }

  assert.deepEqual(await user.apiKeys.fetchAll(), [shown(made)]);
  assert.equal((await logInElsewhere(byKey(made))).id, user.id);
});

test("given a name when taken or ill-formed then refused", async () => {
  const { user } = await openLinked();
  await user.apiKeys.create("ci");

  await assert.rejects(user.apiKeys.create("ci"), {
    statusCode: 409,
    errorCode: "APIKeyAlreadyExists",
    error: "API key with name already exists",
  });
  await assert.rejects(user.apiKeys.create("not a name"), {
    statusCode: 400,
    errorCode: "InvalidParameter",
    error: "can only contain ASCII letters, numbers, underscores, and hyphens",
  });
  assert.equal((await user.apiKeys.fetchAll()).length, 1);
});

test("given a guest when it makes a key then 403 and it lives on", async () => {
  const { user, since } = await openGuest();
  const { refreshToken } = user;

  for (const act of [
    () => user.apiKeys.create("ci"),
    () => user.apiKeys.fetchAll(),
    () => user.apiKeys.fetch("0123456789abcdef01234567"),
  ]) {
    await assert.rejects(act, { statusCode: 403 });
  }

  assert.deepEqual(since(), [
    "POST /auth/api_keys 403",
    "GET /auth/api_keys 403",
    "GET /auth/api_keys/0123456789abcdef01234567 403",
  ]);
  assert.equal(user.state, UserState.Active);
  await user.refreshCustomData();
  assert.equal(user.refreshToken, refreshToken);
  assert.equal(claimsOf(user.accessToken).anonymous, true);
});

test("given a guest refused a key when it is linked then it makes one", async () => {
  const { app, user } = await openGuest();
  await assert.rejects(user.apiKeys.create("ci"), { statusCode: 403 });
  await user.linkCredentials(byPassword(await aRegisteredAddress(app)));

  const made = await user.apiKeys.create("ci");

  assert.equal((await logInElsewhere(byKey(made))).id, user.id);
});

test("given a user with a key when it is deleted then so is the key", async () => {
  const { app, user } = await openLinked();
  const made = await user.apiKeys.create("ci");
  const program = await logInElsewhere(byKey(made));

  await app.deleteUser(user);

  await assert.rejects(openApp().app.logIn(byKey(made)), REFUSED);
  await assert.rejects(program.refreshCustomData(), { statusCode: 401 });
});
