// What the types of anonauth.mjs allow; test_realm_web.py compiles it.
import { anonauth } from "../../functions/anonauth/anonauth.mjs";

const auth = anonauth({ app: "myapp-abcde" });
const token: string = await auth.token();
const fresh: string = await auth.token({ fresh: true });
const merged: boolean = await auth.logIn("custom-token", { token }, { merge: true });
await auth.link("local-userpass", { username: "ada@example.com", password: fresh });
await auth.logOut({ everywhere: merged });
auth.onchange = (user) => console.log(user?.id, user?.anonymous, user?.expires_at);
anonauth({ app: "myapp-abcde", url: "https://auth.example.com", storage: sessionStorage });

// @ts-expect-error The app id is required.
anonauth({});
// @ts-expect-error A user has no name.
auth.user?.name;
// @ts-expect-error Nobody may replace the user.
auth.user = null;
