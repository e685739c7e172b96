// The session has two halves: a cookie that scripts cannot read, and a key that is kept here and sent by them.

import { element } from "./text.js";

const NAME = "okxsync.key";

export const savedKey = () => localStorage.getItem(NAME);
export const forgetKey = () => localStorage.removeItem(NAME);

/** Take the token out of the address, at once, so that it is in no history and no bookmark. Returns it, or null. */
export function tokenOfAddress() {
  const match = /^#token=([^&]+)(?:&(.*))?$/s.exec(location.hash);
  if (!match) return null;
  history.replaceState(null, "", `${location.pathname}${match[2] ? `#${match[2]}` : ""}`);
  return decodeURIComponent(match[1]);
}

/** Trade a token for a session. Returns {key} or {error}. */
export async function logIn(token) {
  let response;
  try {
    response = await fetch("session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
  } catch {
    return { error: "The terminal does not answer." };
  }
  if (response.status === 429) return { error: "Too many tries. Wait a minute." };
  if (!response.ok) return { error: "This is not the token." };
  const { key } = await response.json();
  localStorage.setItem(NAME, key);
  return { key };
}

/** A form that asks for the token. `submit(token)` returns what is wrong with it, if anything. */
export function tokenForm(heading, text, button, error, submit) {
  const input = element("input");
  input.type = "password";
  input.autocomplete = "off";
  input.setAttribute("aria-label", "Token");
  const wrong = element("p", "wrong", error);
  wrong.setAttribute("role", "alert");
  const form = element("form", "", heading, element("p", "", text), input, element("button", "", button), wrong);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.textContent = (await submit(input.value.trim().replace(/^.*#token=/, ""))) ?? "";
  });
  return { form, input };
}

/** Ask for the token until it is right; calls `done(key)`. */
export function askForToken(root, error, done) {
  const text = "The address that `okxsync terminal` printed ends with the token of this session.";
  const { form, input } = tokenForm(element("h1", "", "okxsync terminal"), text, "Open", error ?? "", async (token) => {
    const answer = await logIn(token);
    if (answer.error) return answer.error;
    root.hidden = true;
    root.replaceChildren();
    done(answer.key);
    return null;
  });
  root.replaceChildren(form);
  root.hidden = false;
  input.focus();
}
