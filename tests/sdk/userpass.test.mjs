// E-mail addresses: `APP` confirms them by itself, `OTHER_APP` by mail.
import assert from "node:assert/strict";
import { test } from "node:test";

import { UserState } from "realm-web";

import {
  OTHER_APP,
  PASSWORD,
  aRegisteredAddress,
  anAddress,
  byPassword,
  logInElsewhere,
  mailsTo,
  openApp,
  openGuest,
  tokenDataOf,
} from "./support.mjs";

const NEW_PASSWORD = "battery staple";
const INVALID = {
  statusCode: 400,
  errorCode: "UserpassTokenInvalid",
  error: "userpass token is expired or invalid",
};
const WRONG_PASSWORD = {
  statusCode: 401,
  errorCode: "InvalidPassword",
  error: "unauthorized",
};

/** An app that confirms by mail, with a confirmed address. */
async function openConfirmed() {
  const opened = openApp({ id: OTHER_APP });
  const email = await aRegisteredAddress(opened.app);
  await opened.app.emailPasswordAuth.confirmUser(await tokenDataOf(email));
  return { ...opened, email };
}

/** Ask for a reset, and return the token data of the newest mail. */
async function askForReset(app, email) {
  await app.emailPasswordAuth.sendResetPasswordEmail({ email });
  return tokenDataOf(email);
}

test("given no mail when registered then it logs in at once", async () => {
  const { app, lines } = openApp();
  const email = await aRegisteredAddress(app);

  const user = await app.logIn(byPassword(email));

  assert.match(lines()[1], /\/local-userpass\/register 200$/);
  assert.deepEqual({ ...user.profile }, { email });
  assert.match(user.identities[0].id, /^[0-9a-f]{24}$/);
  assert.deepEqual(await mailsTo(email), []);
});

test("given no mail when asked for one then the old service's texts", async () => {
  const { app } = openApp();
  const email = await aRegisteredAddress(app);
  const unknown = anAddress();
  const { emailPasswordAuth: auth } = app;

  await assert.rejects(auth.resendConfirmationEmail({ email }), {
    statusCode: 400,
    errorCode: "UserAlreadyConfirmed",
    error: "already confirmed",
  });
  await assert.rejects(auth.resendConfirmationEmail({ email: unknown }), {
    statusCode: 404,
    errorCode: "UserNotFound",
    error: "user not found",
  });
  await assert.rejects(auth.retryCustomConfirmation({ email }), {
    statusCode: 400,
    error: `cannot run confirmation for ${email}: automatic confirmation is enabled`,
  });
  await assert.rejects(auth.sendResetPasswordEmail({ email }), {
    statusCode: 400,
    error: "please use reset password via function",
  });
  await assert.rejects(
    auth.callResetPasswordFunction({ email, password: NEW_PASSWORD }, "some", "words"),
    { statusCode: 400, error: `failed to reset password for user "${email}"` },
  );
  await app.logIn(byPassword(email));
});

test("given a registered address when registered again then in use", async () => {
  const { app } = openApp();
  const email = await aRegisteredAddress(app);

  await assert.rejects(
    app.emailPasswordAuth.registerUser({ email, password: NEW_PASSWORD }),
    { statusCode: 409, errorCode: "AccountNameInUse", error: "name already in use" },
  );

  await app.logIn(byPassword(email));
  await assert.rejects(app.logIn(byPassword(email, NEW_PASSWORD)), WRONG_PASSWORD);
});

test("given bad details when registered then 400 says what is wrong", async () => {
  const { emailPasswordAuth: auth } = openApp().app;

  await assert.rejects(auth.registerUser({ email: anAddress(), password: "12345" }), {
    statusCode: 400,
    error: "password must be between 6 and 128 characters",
  });
  await assert.rejects(auth.registerUser({ email: "ada", password: PASSWORD }), {
    statusCode: 400,
    error: "email invalid",
  });
});

test("given mail when registered then its link confirms it", async () => {
  const { app } = openApp({ id: OTHER_APP });
  const email = await aRegisteredAddress(app);
  await assert.rejects(app.logIn(byPassword(email)), {
    statusCode: 401,
    errorCode: "AuthError",
    error: "confirmation required",
  });
  const { page, token, tokenId } = await tokenDataOf(email);

  await app.emailPasswordAuth.confirmUser({ token, tokenId });

  assert.equal(page, "/confirm");
  assert.equal((await mailsTo(email)).length, 1);
  const user = await app.logIn(byPassword(email));
  assert.deepEqual({ ...user.profile }, { email });
});

test("given a guest when its address is confirmed then it can be linked", async () => {
  const { app, user } = await openGuest({ id: OTHER_APP });
  const email = await aRegisteredAddress(app);
  await assert.rejects(user.linkCredentials(byPassword(email)), { statusCode: 403 });
  await app.emailPasswordAuth.confirmUser(await tokenDataOf(email));

  await user.linkCredentials(byPassword(email));

  assert.equal((await logInElsewhere(byPassword(email), OTHER_APP)).id, user.id);
});

test("given a second confirm mail when opened then only that one counts", async () => {
  const { app } = openApp({ id: OTHER_APP });
  const email = await aRegisteredAddress(app);
  const first = await tokenDataOf(email);

  await app.emailPasswordAuth.resendConfirmationEmail({ email });

  const second = await tokenDataOf(email);
  assert.equal((await mailsTo(email)).length, 2);
  await assert.rejects(app.emailPasswordAuth.confirmUser(first), INVALID);
  await app.emailPasswordAuth.confirmUser(second);
  await app.emailPasswordAuth.confirmUser(second);
  await assert.rejects(app.emailPasswordAuth.resendConfirmationEmail({ email }), {
    statusCode: 400,
    errorCode: "UserAlreadyConfirmed",
  });
  await app.logIn(byPassword(email));
});

test("given token data that no mail had when used then the texts", async () => {
  const { app, email } = await openConfirmed();
  const { emailPasswordAuth: auth } = app;
  const { tokenId } = await askForReset(app, email);
  const unknown = { token: "x".repeat(43), tokenId };
  const malformed = { token: "abc", tokenId: "123" };

  for (const [details, expected] of [
    [unknown, INVALID],
    [malformed, { statusCode: 400, error: "invalid token data" }],
  ]) {
    await assert.rejects(auth.confirmUser(details), expected);
    const password = NEW_PASSWORD;
    await assert.rejects(auth.resetPassword({ ...details, password }), expected);
  }
  await app.logIn(byPassword(email));
});

test("given a reset mail when used then the new password logs in", async () => {
  const { app, email } = await openConfirmed();
  const before = await app.logIn(byPassword(email));
  const { page, token, tokenId } = await askForReset(app, email);
  const details = { token, tokenId, password: NEW_PASSWORD };

  await app.emailPasswordAuth.resetPassword(details);

  assert.equal(page, "/reset");
  await assert.rejects(logInElsewhere(byPassword(email), OTHER_APP), WRONG_PASSWORD);
  const after = await logInElsewhere(byPassword(email, NEW_PASSWORD), OTHER_APP);
  assert.equal(after.id, before.id);
  await assert.rejects(app.emailPasswordAuth.resetPassword(details), INVALID);
});

test("given a session when the password is reset elsewhere then it ends", async () => {
  const { app, email, calls, lines } = await openConfirmed();
  const user = await app.logIn(byPassword(email));
  const elsewhere = openApp({ id: OTHER_APP }).app;
  const data = await askForReset(elsewhere, email);
  await elsewhere.emailPasswordAuth.resetPassword({ ...data, password: NEW_PASSWORD });
  const before = calls.length;

  await assert.rejects(user.refreshProfile(), { statusCode: 401 });

  assert.deepEqual(lines().slice(before), [
    "GET /auth/profile 401",
    "POST /auth/session 401",
  ]);
  assert.equal(user.state, UserState.LoggedOut);
  const again = await app.logIn(byPassword(email, NEW_PASSWORD));
  assert.equal(again.id, user.id);
  assert.equal(again.state, UserState.Active);
});

test("given an unknown address when a reset is asked for then silence", async () => {
  const { app } = openApp({ id: OTHER_APP });
  const email = anAddress();

  await app.emailPasswordAuth.sendResetPasswordEmail({ email });

  assert.deepEqual(await mailsTo(email), []);
});

test("given functions that are not offered when called then the texts", async () => {
  const { app, email } = await openConfirmed();
  const { emailPasswordAuth: auth } = app;

  await assert.rejects(
    auth.callResetPasswordFunction({ email, password: NEW_PASSWORD }),
    { statusCode: 400, error: `failed to reset password for user "${email}"` },
  );
  await assert.rejects(auth.retryCustomConfirmation({ email }), {
    statusCode: 400,
    error: `cannot run confirmation for ${email}: automatic confirmation is enabled`,
  });
  await app.logIn(byPassword(email));
});
